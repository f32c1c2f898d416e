/**
 * The order of one conversation's events: lets them through one by one by seq, drops what is known, holds back what is early.
 *
 * Never: show an event whose predecessor is missing. A gap is asked for by `GET …/events`, and only then filled or skipped.
 */
import type { LogEvent } from "../wire/types.ts";

/** Early events kept per conversation while a gap is filled; beyond it the newest are dropped and fetched again later. */
export const HELD_MAX = 1_000;

export interface Stream {
  /** The last event let through; `seq` rises by one. */
  readonly epoch: number;
  readonly seq: number;
  /** Everything up to here is known to exist, from a summary or a `resync`. */
  readonly target: number;
  /** Early events, ascending by seq, none twice. */
  readonly held: readonly LogEvent[];
}

export interface Passed {
  readonly stream: Stream;
  readonly ready: readonly LogEvent[];
}

export function streamAt(epoch: number, seq: number): Stream {
  return { epoch, seq, target: seq, held: [] };
}

/** The first seq that is missing, or null when nothing is. */
export function missingFrom(stream: Stream): number | null {
  const early = stream.held[0];
  return stream.target > stream.seq || (early !== undefined && early.seq > stream.seq + 1)
    ? stream.seq + 1
    : null;
}

function hold(held: readonly LogEvent[], event: LogEvent): readonly LogEvent[] {
  let at = held.length;
  while (at > 0 && (held[at - 1]?.seq ?? 0) > event.seq) at -= 1;
  if (held[at - 1]?.seq === event.seq) return held;
  return [...held.slice(0, at), event, ...held.slice(at)].slice(0, HELD_MAX);
}

/** Lets through whatever follows without a gap. */
function drain(stream: Stream, ready: LogEvent[]): Passed {
  let { epoch, seq } = stream;
  let used = 0;
  for (const event of stream.held) {
    if (event.seq > seq + 1) break;
    used += 1;
    if (event.seq <= seq) continue;
    ({ epoch, seq } = event);
    ready.push(event);
  }
  const held = used === 0 ? stream.held : stream.held.slice(used);
  return { stream: { epoch, seq, held, target: Math.max(stream.target, seq) }, ready };
}

export function accept(stream: Stream, event: LogEvent): Passed {
  if (event.seq <= stream.seq) return { stream, ready: [] };
  return drain({ ...stream, held: hold(stream.held, event) }, []);
}

/** Learns that events up to `seq` exist. */
export function expect(stream: Stream, seq: number): Stream {
  return seq > stream.target ? { ...stream, target: seq } : stream;
}

/** Moves on without the events in between: nothing of them is on screen, so nothing is lost by not seeing them. */
export function jump(stream: Stream, epoch: number, seq: number): Passed {
  if (seq <= stream.seq) return { stream, ready: [] };
  return drain({ ...stream, epoch, seq, target: Math.max(seq, stream.target) }, []);
}

/**
 * Takes a page of `GET …/events` that began at the missing seq. Numbers it leaves out between its items are not visible to us (history is
 * cut to the intervals of membership); what lies after its last item is still missing.
 */
export function fill(stream: Stream, items: readonly LogEvent[]): Passed {
  const ready: LogEvent[] = [];
  let { epoch, seq } = stream;
  for (const event of items) {
    if (event.seq <= seq) continue;
    ({ epoch, seq } = event);
    ready.push(event);
  }
  return drain({ ...stream, epoch, seq }, ready);
}
