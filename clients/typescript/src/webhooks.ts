import { createHmac, createPublicKey, timingSafeEqual, verify } from "node:crypto";

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
 * `secret` is the subscription's secret `whsec_…`, or its public key `whpk_…` where it signs with `v1a`. Throws WebhookVerificationError for what was not signed with it just now.
 */
export function verifyWebhook(body: string | Uint8Array, headers: WebhookHeaders, secret: string): WebhookEvent {
  const id = headerOf(headers, "webhook-id");
  const timestamp = headerOf(headers, "webhook-timestamp");
  if (!(Math.abs(Date.now() / 1000 - Number(timestamp)) <= TOLERANCE_SECONDS)) {
    throw new WebhookVerificationError("webhook-timestamp is too far from now");
  }
  const signed = Buffer.concat([Buffer.from(`${id}.${timestamp}.`), Buffer.from(body)]);
  const given = headerOf(headers, "webhook-signature").split(" ");
  const isGenuine = secret.startsWith("whpk_") ? signedByOwner(secret, signed) : signedWith(secret, signed);
  if (!given.some(isGenuine)) {
    throw new WebhookVerificationError("no signature was made with this secret");
  }
  return JSON.parse(typeof body === "string" ? body : new TextDecoder().decode(body)) as WebhookEvent;
}

/** Whether a signature `v1,…` was made with the shared secret. */
function signedWith(secret: string, signed: Buffer): (signature: string) => boolean {
  const key = Buffer.from(secret.replace(/^whsec_/, ""), "base64");
  const expected = createHmac("sha256", key).update(signed).digest();
  return (signature) => {
    const [version, text] = signature.split(",");
    const given = Buffer.from(text ?? "", "base64");
    return version === "v1" && given.length === expected.length && timingSafeEqual(given, expected);
  };
}

/** Whether a signature `v1a,…` was made with the private key of this public one (Ed25519). */
function signedByOwner(publicKey: string, signed: Buffer): (signature: string) => boolean {
  const x = Buffer.from(publicKey.replace(/^whpk_/, ""), "base64").toString("base64url");
  const key = createPublicKey({ key: { kty: "OKP", crv: "Ed25519", x }, format: "jwk" });
  return (signature) => {
    const [version, text] = signature.split(",");
    return version === "v1a" && verify(null, signed, key, Buffer.from(text ?? "", "base64"));
  };
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
