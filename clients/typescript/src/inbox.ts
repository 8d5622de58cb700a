import type { components } from "./schema.js";
import type { RequestOptions, Transport } from "./transport.js";

type Schemas = components["schemas"];
export type InboxEvent = Schemas["InboxEvent"];
export type Lease = Schemas["LeaseShown"];
export type AckOutcome = Schemas["AckOutcome"];
export type NackOutcome = Schemas["NackOutcome"];

export interface LeaseOptions {
  /** Events, at most 1 000. */
  max?: number;
  leaseSeconds?: number;
  /** How long to wait for the first event, at most 20 s. */
  waitSeconds?: number;
  signal?: AbortSignal | undefined;
}

type Patience = Pick<RequestOptions, "isPatient">;

export interface ConsumeOptions {
  /** How many handlers run at once. */
  concurrency?: number;
  /** How long others wait for an event whose consumer is gone. */
  leaseSeconds?: number;
  /** Ends consuming: no more events are leased, and handlers that run are waited for. */
  signal?: AbortSignal;
}

const WAIT_SECONDS = 20;
const GRACE_MS = 1_000;

export class Inbox {
  readonly #query: { inbox: string };

  constructor(
    private readonly transport: Transport,
    readonly name: string,
  ) {
    this.#query = { inbox: name };
  }

  /** Take events for a while; who does not acknowledge them in time loses them to the next one. */
  lease(options: LeaseOptions = {}): Promise<Lease> {
    return this.#lease(options);
  }

  ack(eventIds: readonly string[], leaseId?: string): Promise<AckOutcome> {
    return this.#post("ack", { event_ids: eventIds, lease_id: leaseId });
  }

  /** Give events back, to be leased again at once. */
  nack(eventIds: readonly string[], leaseId?: string): Promise<NackOutcome> {
    return this.#post("nack", { event_ids: eventIds, lease_id: leaseId });
  }

  extend(leaseId: string, leaseSeconds = 30): Promise<unknown> {
    return this.#post("extend", { lease_id: leaseId, lease_seconds: leaseSeconds });
  }

  /**
   * Hand each event to `handler`, and acknowledge it when that resolves. When it throws, the event is given back, and
   * comes again. Delivery is at least once. Ends when the signal is aborted; waits as long as it takes while the
   * platform cannot be reached; throws what it refuses.
   */
  async consume(handler: (event: InboxEvent) => unknown, options: ConsumeOptions = {}): Promise<void> {
    const { concurrency = 1, leaseSeconds = 30, signal } = options;
    const running = new Set<Promise<void>>();
    const patience = { isPatient: () => !signal?.aborted };
    let failure: { error: unknown } | undefined;
    while (!signal?.aborted && !failure) {
      if (running.size >= concurrency) {
        await Promise.race(running);
        continue;
      }
      const began = Date.now();
      const wanted = { max: concurrency - running.size, leaseSeconds, waitSeconds: WAIT_SECONDS, signal };
      const lease = await this.#leaseUnlessAborted(wanted, patience);
      if (signal?.aborted && lease?.lease_id) {
        await this.nack(lease.events.map(({ id }) => id), lease.lease_id);
        break;
      }
      for (const event of lease?.events ?? []) {
        const work = this.#handle(handler, event, String(lease?.lease_id), leaseSeconds, patience)
          .catch((error: unknown) => {
            failure = { error };
          })
          .finally(() => running.delete(work));
        running.add(work);
      }
      // A paused inbox may answer at once that there is nothing.
      if (!lease?.events.length) await idle(began + 1000 - Date.now(), signal);
    }
    await Promise.all(running);
    if (failure) throw failure.error;
  }

  async #handle(
    handler: (event: InboxEvent) => unknown,
    event: InboxEvent,
    leaseId: string,
    leaseSeconds: number,
    patience: Patience,
  ): Promise<void> {
    // A handler may take longer than the lease. One that was lost to another consumer is no fault of the handler's.
    const extending = setInterval(() => {
      this.extend(leaseId, leaseSeconds).catch(() => undefined);
    }, leaseSeconds * 500);
    try {
      await handler(event);
    } catch {
      await this.#post("nack", { event_ids: [event.id], lease_id: leaseId }, patience);
      return;
    } finally {
      clearInterval(extending);
    }
    await this.#post("ack", { event_ids: [event.id], lease_id: leaseId }, patience);
  }

  /** Who hangs up on a lease may have been given events, which others then wait for: so the answer gets a moment. */
  async #leaseUnlessAborted({ signal, ...options }: LeaseOptions, patience: Patience): Promise<Lease | undefined> {
    const hangUp = new AbortController();
    let timer: ReturnType<typeof setTimeout> | undefined;
    const soon = (): void => {
      timer = setTimeout(() => hangUp.abort(), GRACE_MS);
    };
    signal?.addEventListener("abort", soon, { once: true });
    try {
      return await this.#lease({ ...options, signal: hangUp.signal }, patience);
    } catch (error) {
      if (signal?.aborted) return undefined;
      throw error;
    } finally {
      clearTimeout(timer);
      signal?.removeEventListener("abort", soon);
    }
  }

  #lease(
    { max = 100, leaseSeconds = 30, waitSeconds = 0, signal }: LeaseOptions,
    patience: Patience = {},
  ): Promise<Lease> {
    const body = { max, lease_seconds: leaseSeconds, wait_seconds: waitSeconds };
    return this.#post("lease", body, { signal, timeoutMs: this.transport.timeoutWith(waitSeconds), ...patience });
  }

  #post<T>(action: string, body: unknown, options?: Omit<RequestOptions, "body" | "query">): Promise<T> {
    return this.transport.request("POST", `/api/v1/inbox/${action}`, { query: this.#query, body, ...options });
  }
}

/** Resolves after so long, or when the signal is aborted. */
export function idle(milliseconds: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve) => {
    if (signal?.aborted) return resolve();
    const end = (): void => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", end);
      resolve();
    };
    const timer = setTimeout(end, Math.max(0, milliseconds));
    signal?.addEventListener("abort", end, { once: true });
  });
}
