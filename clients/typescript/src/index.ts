export type { BufferOptions } from "./buffer.js";
export { Client } from "./client.js";
export { ApiError, ConnectionError, WebhookVerificationError, type ProblemDocument } from "./errors.js";
export type {
  BatchItem,
  BatchOutcome,
  BufferedEvents,
  EventAccepted,
  EventDetails,
  EventFilters,
  EventShown,
  NewEvent,
  SendOptions,
} from "./events.js";
export type { AckOutcome, ConsumeOptions, Inbox, InboxEvent, Lease, LeaseOptions, NackOutcome } from "./inbox.js";
export type { components, operations, paths } from "./schema.js";
export type { ClientOptions, RequestOptions } from "./transport.js";
export { verifyWebhook, type WebhookEvent, type WebhookHeaders } from "./webhooks.js";
