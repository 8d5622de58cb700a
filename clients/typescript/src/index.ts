export type { BufferOptions } from "./buffer.js";
export { Client, type Job, type NewPortalLink, type PortalLink } from "./client.js";
export { ApiError, ConnectionError, WebhookVerificationError, type ProblemDocument } from "./errors.js";
export type {
  BatchItem,
  BatchOutcome,
  BufferedEvents,
  EventAccepted,
  EventCancelled,
  EventDetails,
  EventFilters,
  EventShown,
  NewEvent,
  SendOptions,
} from "./events.js";
export type { AckOutcome, ConsumeOptions, Inbox, InboxEvent, Lease, LeaseOptions, NackOutcome } from "./inbox.js";
export type { components, operations, paths } from "./schema.js";
export type { StreamOptions } from "./stream.js";
export type { ClientOptions, RequestOptions } from "./transport.js";
export { verifyWebhook, type WebhookEvent, type WebhookHeaders } from "./webhooks.js";
