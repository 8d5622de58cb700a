import { EventBuffer, type BufferOptions } from "./buffer.js";
import { follow, type StreamOptions } from "./stream.js";
import type { components, operations } from "./schema.js";
import type { Transport } from "./transport.js";

type Schemas = components["schemas"];
export type NewEvent = Schemas["NewEvent"];
export type EventAccepted = Schemas["EventAccepted"];
export type BatchItem = Schemas["BatchItem"];
export type BatchOutcome = Schemas["BatchOutcome"];
type EventPage = operations["list_events"]["responses"][200]["content"]["application/json"];
/** An event of a list. */
export type EventShown = EventPage["data"][number];
/** An event that will never be handed on. */
export type EventCancelled = Schemas["EventCancelled"];
/** An event with what became of it. */
export type EventDetails = operations["get_event"]["responses"][200]["content"]["application/json"];

export interface SendOptions {
  source?: string;
  subject?: string;
  time?: Date | string;
  /** Made up when it is left out: sending again is then safe within one call. Derive it from what happened instead. */
  idempotencyKey?: string;
  /** When to hand it on, at most 30 days ahead. */
  deliverAt?: Date | string;
}

export interface EventFilters {
  /** With a trailing `*`, every type that starts so. */
  type?: string;
  source?: string;
  subject?: string;
  status?: EventShown["status"];
  receivedAfter?: Date | string;
  receivedBefore?: Date | string;
  /** Of one request; the iterator goes on to the end all the same. */
  pageSize?: number;
}

const PATH = "/api/v1/events";

export class Events {
  constructor(private readonly transport: Transport) {}

  /** Resolves when the event is committed, now or before under the same idempotency key. */
  send(type: string, data: unknown, options: SendOptions = {}): Promise<EventAccepted> {
    return this.transport.request("POST", PATH, { body: newEvent(type, data, options) });
  }

  /** At most 1 000 events. Good ones are kept when others are bad: look at each result. */
  batch(events: readonly NewEvent[]): Promise<BatchOutcome> {
    const body = { events: events.map((event) => ({ idempotency_key: crypto.randomUUID(), ...event })) };
    return this.transport.request("POST", `${PATH}/batch`, { body });
  }

  /** Collects events that are sent close together into one request. */
  buffer(options: BufferOptions = {}): BufferedEvents {
    return new BufferedEvents(new EventBuffer((events) => this.batch(events), options));
  }

  get(id: string): Promise<EventDetails> {
    return this.transport.request("GET", `${PATH}/${encodeURIComponent(id)}`);
  }

  /** Takes back an event that is `scheduled`; what was handed on is a 409 `wrong_state`. */
  cancel(id: string): Promise<EventCancelled> {
    return this.transport.request("POST", `${PATH}/${encodeURIComponent(id)}/cancel`);
  }

  /**
   * Events as they are committed, in that order, until the signal is aborted. It begins now, or after the event
   * `lastEventId`, up to an hour back. A connection that breaks is made anew, and nothing is missed.
   */
  stream(options: StreamOptions = {}): AsyncGenerator<EventShown, void, undefined> {
    return follow(this.transport, options);
  }

  /** All events that match, newest first, page by page as they are read. */
  async *list(filters: EventFilters = {}): AsyncGenerator<EventShown, void, undefined> {
    const { receivedAfter, receivedBefore, pageSize, ...same } = filters;
    const query = {
      ...same,
      received_after: text(receivedAfter),
      received_before: text(receivedBefore),
      limit: pageSize,
    };
    for (let cursor: string | undefined; ; ) {
      const page: EventPage = await this.transport.request("GET", PATH, { query: { ...query, cursor } });
      yield* page.data;
      if (page.next_cursor === null) return;
      cursor = page.next_cursor;
    }
  }
}

/** An open buffer; `await using` closes it by itself. */
export class BufferedEvents {
  constructor(private readonly buffer: EventBuffer) {}

  /** Resolves when the event is committed. Rejects with ApiError when it alone is refused. */
  send(type: string, data: unknown, options: SendOptions = {}): Promise<BatchItem> {
    return this.buffer.add(newEvent(type, data, options));
  }

  flush(): Promise<void> {
    return this.buffer.flush();
  }

  close(): Promise<void> {
    return this.buffer.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.buffer.close();
  }
}

function newEvent(type: string, data: unknown, options: SendOptions): NewEvent {
  const event = {
    type,
    data: data ?? null,
    source: options.source,
    subject: options.subject,
    time: text(options.time),
    idempotency_key: options.idempotencyKey ?? crypto.randomUUID(),
    deliver_at: text(options.deliverAt),
  };
  // What is undefined is no member of the JSON.
  return event as NewEvent;
}

function text(time: Date | string | undefined): string | undefined {
  return time instanceof Date ? time.toISOString() : time;
}
