import type { components } from "./schema.js";

/** What is wrong with a request, as the platform says it (RFC 9457). */
export type ProblemDocument = components["schemas"]["ProblemDocument"];

/** The platform refused a request. `code` is stable; `problem.errors` names each wrong field. */
export class ApiError extends Error {
  override readonly name = "ApiError";
  readonly status: number;
  readonly code: string;

  constructor(readonly problem: Omit<ProblemDocument, "request_id"> & { request_id?: string }) {
    const fields = (problem.errors ?? []).map(({ pointer, detail }) => `${pointer}: ${detail}`);
    super([`${problem.code} (${problem.status}): ${problem.detail}`, ...fields].join("; "));
    this.status = problem.status;
    this.code = problem.code;
  }
}

/** No answer came, however often it was tried: it is unknown whether the request was carried out. */
export class ConnectionError extends Error {
  override readonly name = "ConnectionError";
}

/** A webhook was not signed with the secret, or not just now. */
export class WebhookVerificationError extends Error {
  override readonly name = "WebhookVerificationError";
}
