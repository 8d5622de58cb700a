import { createHmac, timingSafeEqual } from "node:crypto";

import { WebhookVerificationError } from "./errors.js";

/** The body of a webhook; `attributes` are those of a CloudEvent. */
export interface WebhookEvent {
  id: string;
  type: string;
  timestamp: string;
  data: unknown;
  attributes?: Record<string, unknown>;
}

export type WebhookHeaders = Headers | Record<string, string | string[] | undefined>;

/** Nobody can send an old webhook again. */
const TOLERANCE_SECONDS = 300;

/**
 * The event of a webhook, by Standard Webhooks. `body` are the bytes as they came, or their text, before any parsing;
 * `secret` is the subscription's `whsec_…`. Throws WebhookVerificationError for what was not signed with it just now.
 */
export function verifyWebhook(body: string | Uint8Array, headers: WebhookHeaders, secret: string): WebhookEvent {
  const id = headerOf(headers, "webhook-id");
  const timestamp = headerOf(headers, "webhook-timestamp");
  if (!(Math.abs(Date.now() / 1000 - Number(timestamp)) <= TOLERANCE_SECONDS)) {
    throw new WebhookVerificationError("webhook-timestamp is too far from now");
  }
  const key = Buffer.from(secret.replace(/^whsec_/, ""), "base64");
  const expected = createHmac("sha256", key).update(`${id}.${timestamp}.`).update(body).digest();
  const given = headerOf(headers, "webhook-signature").split(" ");
  if (!given.some((signature) => isSame(signature, expected))) {
    throw new WebhookVerificationError("no signature was made with this secret");
  }
  return JSON.parse(typeof body === "string" ? body : new TextDecoder().decode(body)) as WebhookEvent;
}

function isSame(signature: string, expected: Buffer): boolean {
  const [version, text] = signature.split(",");
  const given = Buffer.from(text ?? "", "base64");
  return version === "v1" && given.length === expected.length && timingSafeEqual(given, expected);
}

function headerOf(headers: WebhookHeaders, name: string): string {
  const found =
    headers instanceof Headers
      ? headers.get(name)
      : Object.entries(headers).find(([given]) => given.toLowerCase() === name)?.[1];
  const value = Array.isArray(found) ? found[0] : found;
  if (!value) throw new WebhookVerificationError(`${name} is missing`);
  return value;
}
