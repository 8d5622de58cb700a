import type { components } from "./schema.js";
import type { Transport } from "./transport.js";

type Schemas = components["schemas"];
export type InboxEvent = Schemas["InboxEvent"];
export type Lease = Schemas["LeaseShown"];
export type AckOutcome = Schemas["AckOutcome"];
export type NackOutcome = Schemas["NackOutcome"];

export interface LeaseOptions {
  /** Events, at most 1 000. */
  max?: number;
  leaseSeconds?: number;
  signal?: AbortSignal | undefined;
}

export interface ConsumeOptions {
  /** How many handlers run at once. */
  concurrency?: number;
  /** How long others wait for an event whose consumer is gone. */
  leaseSeconds?: number;
  /** How long to wait when there was nothing to lease. */
  idleSeconds?: number;
  /** Ends consuming: no more events are leased, and handlers that run are waited for. */
  signal?: AbortSignal;
}

export class Inbox {
  readonly #query: { inbox: string };

  constructor(
    private readonly transport: Transport,
    readonly name: string,
  ) {
    this.#query = { inbox: name };
  }

  /** Take events for a while; who does not acknowledge them in time loses them to the next one. */
  lease({ max = 100, leaseSeconds = 30, signal }: LeaseOptions = {}): Promise<Lease> {
    return this.#post("lease", { max, lease_seconds: leaseSeconds }, signal);
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
   * comes again. Delivery is at least once. Ends when the signal is aborted; throws what the platform refuses.
   */
  async consume(handler: (event: InboxEvent) => unknown, options: ConsumeOptions = {}): Promise<void> {
    const { concurrency = 1, leaseSeconds = 30, idleSeconds = 1, signal } = options;
    const running = new Set<Promise<void>>();
    let failure: { error: unknown } | undefined;
    while (!signal?.aborted && !failure) {
      if (running.size >= concurrency) {
        await Promise.race(running);
        continue;
      }
      const lease = await this.#leaseUnlessAborted({ max: concurrency - running.size, leaseSeconds, signal });
      for (const event of lease?.events ?? []) {
        const work = this.#handle(handler, event, String(lease?.lease_id), leaseSeconds)
          .catch((error: unknown) => {
            failure = { error };
          })
          .finally(() => running.delete(work));
        running.add(work);
      }
      if (!lease?.events.length) await idle(idleSeconds, signal);
    }
    await Promise.all(running);
    if (failure) throw failure.error;
  }

  async #handle(
    handler: (event: InboxEvent) => unknown,
    event: InboxEvent,
    leaseId: string,
    leaseSeconds: number,
  ): Promise<void> {
    // A handler may take longer than the lease. One that was lost to another consumer is no fault of the handler's.
    const extending = setInterval(() => {
      this.extend(leaseId, leaseSeconds).catch(() => undefined);
    }, leaseSeconds * 500);
    try {
      await handler(event);
    } catch {
      await this.nack([event.id], leaseId);
      return;
    } finally {
      clearInterval(extending);
    }
    await this.ack([event.id], leaseId);
  }

  async #leaseUnlessAborted(options: LeaseOptions): Promise<Lease | undefined> {
    try {
      return await this.lease(options);
    } catch (error) {
      if (options.signal?.aborted) return undefined;
      throw error;
    }
  }

  #post<T>(action: string, body: unknown, signal?: AbortSignal): Promise<T> {
    return this.transport.request("POST", `/api/v1/inbox/${action}`, { query: this.#query, body, signal });
  }
}

function idle(seconds: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve) => {
    if (signal?.aborted) return resolve();
    const end = (): void => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", end);
      resolve();
    };
    const timer = setTimeout(end, seconds * 1000);
    signal?.addEventListener("abort", end, { once: true });
  });
}
