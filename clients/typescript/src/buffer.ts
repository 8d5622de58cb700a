import { ApiError } from "./errors.js";
import type { BatchItem, BatchOutcome, NewEvent } from "./events.js";

export interface BufferOptions {
  /** Events of one request, at most 1 000. */
  maxEvents?: number;
  /** How long an event waits for others. */
  maxSeconds?: number;
}

interface Waiting {
  event: NewEvent;
  resolve: (item: BatchItem) => void;
  reject: (reason: unknown) => void;
}

/** A request has at most 5 MiB; a character takes up to three bytes, and an event's data 256 KiB. */
const MOST_CHARACTERS = 1_500_000;

/** Sends events that come close together in one request. Close it at the end: it sends what still waits. */
export class EventBuffer {
  readonly #sendBatch: (events: NewEvent[]) => Promise<BatchOutcome>;
  readonly #maxEvents: number;
  readonly #maxSeconds: number;
  #waiting: Waiting[] = [];
  #characters = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #sent: Promise<void> = Promise.resolve();

  constructor(sendBatch: (events: NewEvent[]) => Promise<BatchOutcome>, options: BufferOptions) {
    this.#sendBatch = sendBatch;
    this.#maxEvents = Math.min(options.maxEvents ?? 500, 1000);
    this.#maxSeconds = options.maxSeconds ?? 0.05;
  }

  /** Resolves when the event is committed. Rejects with ApiError when it alone is refused. */
  add(event: NewEvent): Promise<BatchItem> {
    const size = JSON.stringify(event).length;
    if (this.#characters + size > MOST_CHARACTERS) void this.flush();
    this.#characters += size;
    return new Promise((resolve, reject) => {
      this.#waiting.push({ event, resolve, reject });
      if (this.#waiting.length >= this.#maxEvents) void this.flush();
      else this.#timer ??= setTimeout(() => void this.flush(), this.#maxSeconds * 1000);
    });
  }

  /** Send what waits. Resolves when all that was added before has its answer. */
  flush(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const batch = this.#waiting;
    this.#waiting = [];
    this.#characters = 0;
    // One after another, so that events keep their order.
    if (batch.length) this.#sent = this.#sent.then(() => this.#send(batch));
    return this.#sent;
  }

  async close(): Promise<void> {
    await this.flush();
  }

  async #send(batch: Waiting[]): Promise<void> {
    try {
      const { results } = await this.#sendBatch(batch.map(({ event }) => event));
      batch.forEach(({ resolve, reject }, index) => {
        const item = results[index];
        if (item && item.status !== "rejected") resolve(item);
        else reject(item?.error ? new ApiError(item.error) : new Error("the platform did not tell of this event"));
      });
    } catch (error) {
      for (const { reject } of batch) reject(error);
    }
  }
}
