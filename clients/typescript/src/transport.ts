import { ApiError, ConnectionError, type ProblemDocument } from "./errors.js";

export interface ClientOptions {
  /** Where the platform is, such as `https://events.example.com`; else EVP_URL. */
  baseUrl?: string;
  /** Else EVP_API_KEY. */
  apiKey?: string;
  /** How often a request is tried in all. */
  maxAttempts?: number;
  /** Of one attempt, in milliseconds. */
  timeoutMs?: number;
  /** In place of the global one. */
  fetch?: typeof fetch;
}

export interface RequestOptions {
  query?: Record<string, string | number | undefined> | undefined;
  body?: unknown;
  headers?: Record<string, string>;
  signal?: AbortSignal | undefined;
  /** Of one attempt, in milliseconds; none with 0. Else that of the client. */
  timeoutMs?: number | undefined;
  /** For as long as it says so, attempts are not counted. */
  isPatient?: (() => boolean) | undefined;
}

/** Nothing was acknowledged, or nobody knows: the same request may be sent again. */
const AGAIN = new Set([429, 500, 502, 503, 504]);
const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 10_000;
/** A longer `Retry-After` is not waited for: the caller hears of the refusal instead. */
const LONGEST_RETRY_AFTER_MS = 120_000;

/** Sends requests, and sends them again where that may help. */
export class Transport {
  readonly #baseUrl: string;
  readonly #apiKey: string;
  readonly #maxAttempts: number;
  readonly #timeoutMs: number;
  readonly #fetch: typeof fetch;

  constructor(options: ClientOptions) {
    this.#baseUrl = (options.baseUrl ?? fromEnvironment("EVP_URL", "baseUrl")).replace(/\/+$/, "");
    this.#apiKey = options.apiKey ?? fromEnvironment("EVP_API_KEY", "apiKey");
    this.#maxAttempts = options.maxAttempts ?? 6;
    this.#timeoutMs = options.timeoutMs ?? 30_000;
    this.#fetch = options.fetch ?? globalThis.fetch;
  }

  /** The JSON of the answer. Throws ApiError, ConnectionError, or why the signal was aborted. */
  async request<T>(method: string, path: string, options: RequestOptions = {}): Promise<T> {
    const { text } = await this.#answered(method, path, options, (answer) => answer.text());
    return (text ? JSON.parse(text) : undefined) as T;
  }

  /** An answer that goes on; the caller reads it and has to cancel it. Throws as `request` does. */
  async open(path: string, options: RequestOptions): Promise<Response> {
    return (await this.#answered("GET", path, { ...options, timeoutMs: 0 }, () => Promise.resolve(""))).answer;
  }

  /** How long an answer may take that waits for so long on purpose. */
  timeoutWith(waitSeconds: number): number {
    return this.#timeoutMs + waitSeconds * 1000;
  }

  async #answered(
    method: string,
    path: string,
    options: RequestOptions,
    read: (answer: Response) => Promise<string>,
  ): Promise<{ answer: Response; text: string }> {
    const url = this.#baseUrl + path + queryOf(options.query);
    for (let attempt = 1; ; attempt++) {
      options.signal?.throwIfAborted();
      const { answer, text = "", failure } = await this.#attempt(url, method, options, read);
      if (answer?.ok) return { answer, text };
      const wait = waitBefore(attempt, answer);
      const isLast = !options.isPatient?.() && (attempt >= this.#maxAttempts || wait > LONGEST_RETRY_AFTER_MS);
      if (answer && (isLast || !AGAIN.has(answer.status))) {
        const told = parsed(text);
        // A batch without a good event is told of in the shape of batches.
        if (isRecord(told) && "results" in told) return { answer, text };
        throw new ApiError(problemIn(told, answer));
      }
      if (isLast) throw new ConnectionError(`no answer from ${url}`, { cause: failure });
      await sleep(Math.min(wait, LONGEST_RETRY_AFTER_MS), options.signal);
    }
  }

  async #attempt(
    url: string,
    method: string,
    { body, headers, signal, timeoutMs = this.#timeoutMs }: RequestOptions,
    read: (answer: Response) => Promise<string>,
  ): Promise<{ answer?: Response; text?: string; failure?: unknown }> {
    const signals = [...(signal ? [signal] : []), ...(timeoutMs ? [AbortSignal.timeout(timeoutMs)] : [])];
    const init: RequestInit = {
      method,
      headers: {
        authorization: `Bearer ${this.#apiKey}`,
        accept: "application/json",
        ...(body === undefined ? {} : { "content-type": "application/json" }),
        ...headers,
      },
      signal: AbortSignal.any(signals),
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    };
    try {
      const answer = await this.#fetch(url, init);
      // What breaks off in the middle is no answer: that of a lease which waits has begun long before its events come.
      return { answer, text: await (answer.ok ? read(answer) : answer.text()) };
    } catch (failure) {
      signal?.throwIfAborted();
      return { failure };
    }
  }
}

/** As long as the platform says, or longer each time; always with some chance, so that not all come back at once. */
function waitBefore(attempt: number, answer: Response | undefined): number {
  const seconds = Number(answer?.headers.get("retry-after") ?? 0);
  if (seconds > 0) return seconds * 1000 * (1 + Math.random() / 5);
  return Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** (attempt - 1)) * (0.5 + Math.random() / 2);
}

/** Resolves after so long; rejects when the signal is aborted. */
function sleep(milliseconds: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    const abort = (): void => {
      clearTimeout(timer);
      reject(signal?.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", abort);
      resolve();
    }, milliseconds);
    signal?.addEventListener("abort", abort, { once: true });
  });
}

function queryOf(given: RequestOptions["query"] = {}): string {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(given)) {
    if (value !== undefined) query.set(name, String(value));
  }
  return query.size ? `?${query}` : "";
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** What comes from a proxy may be no problem document. */
function problemIn(told: unknown, answer: Response): ProblemDocument {
  if (isRecord(told) && typeof told.code === "string") return told as unknown as ProblemDocument;
  const { status, statusText } = answer;
  return {
    type: "about:blank",
    title: statusText,
    status,
    detail: statusText || "no problem document",
    code: (status < 500 ? "bad_request" : "internal_error") as ProblemDocument["code"],
    request_id: answer.headers.get("request-id") ?? "",
  };
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null;
}

function fromEnvironment(name: string, option: string): string {
  const value = globalThis.process?.env[name];
  if (!value) throw new TypeError(`give ${option}, or set ${name}`);
  return value;
}
