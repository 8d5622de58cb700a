import { ApiError, ConnectionError } from "./errors.js";
import type { EventShown } from "./events.js";
import { idle } from "./inbox.js";
import type { Transport } from "./transport.js";

export interface StreamOptions {
  /** With a trailing `*`, every type that starts so. */
  type?: string;
  source?: string;
  subject?: string;
  /** The `id` of the last event that came. */
  lastEventId?: string;
  signal?: AbortSignal;
}

/** The platform says something every 15 s. */
const SILENCE_MS = 45_000;
const PAUSE_MS = 1_000;

/** One stream after the other, each from the last event on. Throws what the platform refuses. */
export async function* follow(
  transport: Transport,
  { lastEventId: last, signal, ...query }: StreamOptions,
): AsyncGenerator<EventShown, void, undefined> {
  while (!signal?.aborted) {
    const hangUp = new AbortController();
    const headers = { accept: "text/event-stream", ...(last ? { "last-event-id": last } : {}) };
    const either = signal ? AbortSignal.any([signal, hangUp.signal]) : hangUp.signal;
    try {
      const answer = await transport.open("/api/v1/events/stream", { query, headers, signal: either });
      // Where no event came yet, the next stream goes on from when this one began.
      last ??= firstIdOf(answer.headers.get("date"));
      for await (const line of linesOf(answer, hangUp)) {
        if (!line.startsWith("data: ")) continue;
        const event = JSON.parse(line.slice("data: ".length)) as EventShown;
        last = event.id;
        yield event;
      }
    } catch (error) {
      if (error instanceof ApiError || error instanceof ConnectionError) throw error;
    } finally {
      hangUp.abort();
    }
    await idle(PAUSE_MS, signal);
  }
}

async function* linesOf(answer: Response, hangUp: AbortController): AsyncGenerator<string, void, undefined> {
  const reader = answer.body?.getReader();
  const decoder = new TextDecoder();
  for (let rest = ""; reader; ) {
    const timer = setTimeout(() => hangUp.abort(), SILENCE_MS);
    const { done, value } = await reader.read().finally(() => clearTimeout(timer));
    if (done) return;
    const lines = (rest + decoder.decode(value, { stream: true })).split("\n");
    rest = lines.pop() ?? "";
    yield* lines;
  }
}

/** The lowest id (UUIDv7) that an event of this second can have. */
function firstIdOf(date: string | null): string | undefined {
  const milliseconds = Date.parse(date ?? "");
  if (Number.isNaN(milliseconds)) return undefined;
  const hex = milliseconds.toString(16).padStart(12, "0");
  return `${hex.slice(0, 8)}-${hex.slice(8)}-7000-8000-000000000000`;
}
