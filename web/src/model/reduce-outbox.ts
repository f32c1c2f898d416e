/** Sending: from the key press to the stored event. */
import type { CommandId, ConversationId } from "../wire/ids.ts";
import type { ServerFrame } from "../wire/types.ts";
import {
  due,
  interrupted,
  isTransient,
  OUTBOX_MAX,
  type Outbox,
  type Outgoing,
  outgoing,
  pauseMs,
  update,
  without,
} from "./outbox.ts";
import type { Turn } from "./state.ts";

/** An acknowledgement that takes longer than this is asked for again with the same id; the server's own deadline is 5 s. */
export const ACK_MS = 8_000;

/** Without an acknowledgement for this long the screen says that the server is slow, and the line is asked whether it is still there. */
export const ACK_SLOW_MS = 3_000;

/** How long after its acknowledgement an own event may take before it counts as missed. */
const EVENT_MS = 3_000;

const find = (turn: Turn, id: CommandId): Outgoing | undefined =>
  turn.model.outbox.find((entry) => entry.id === id);

function set(turn: Turn, id: CommandId, changes: Partial<Outgoing>): void {
  turn.set({ outbox: update(turn.model.outbox, id, changes) });
}

/** Puts whatever may go now on the line. */
export function pump(turn: Turn): void {
  if (!turn.model.live) return;
  for (const entry of due(turn.model.outbox, turn.now)) {
    const attempts = entry.attempts + 1;
    set(turn, entry.id, { state: "sent", attempts });
    turn.emit({ do: "later", ms: ACK_SLOW_MS, input: { on: "ack_slow", id: entry.id, attempts } });
    const retry = entry.retry ? { retry: true } : {};
    turn.emit({
      do: "send",
      frame: { t: "send", id: entry.id, conversation_id: entry.conversation_id, body: entry.body, ...retry },
    });
    turn.emit({ do: "later", ms: ACK_MS, input: { on: "ack_late", id: entry.id, attempts } });
  }
}

export function send(turn: Turn, id: CommandId, conversation: ConversationId, body: string): void {
  if (turn.model.outbox.length >= OUTBOX_MAX || find(turn, id) !== undefined) return;
  const entry = outgoing(id, conversation, body, turn.now);
  turn.set({ outbox: [...turn.model.outbox, entry] });
  turn.emit({ do: "keep", entry });
  pump(turn);
}

export function onAck(turn: Turn, ack: Extract<ServerFrame, { t: "ack" }>): void {
  if (find(turn, ack.id) === undefined) return;
  set(turn, ack.id, { state: "stored", seq: ack.seq, problem: null });
  settle(turn, ack.conversation_id);
  if (find(turn, ack.id) !== undefined) {
    // Stored, but the event itself is not here. It comes before or after the acknowledgement; when it does not, it is asked for.
    const { conversation_id: id, epoch, seq } = ack;
    turn.emit({ do: "later", ms: EVENT_MS, input: { on: "event_due", id, epoch, seq } });
  }
  pump(turn);
}

export function onRefusal(turn: Turn, id: CommandId, code: string, hint: number | null): void {
  const entry = find(turn, id);
  if (entry === undefined || entry.state === "stored") return;
  if (isTransient(code)) {
    const ms = pauseMs(entry.attempts, hint);
    const retry = entry.retry || code === "unknown_outcome";
    set(turn, id, { state: "waiting", retry, not_before: turn.now + ms, problem: code });
    turn.emit({ do: "later", ms, input: { on: "pump" } });
    return;
  }
  const failed: Outgoing = { ...entry, state: "failed", problem: code };
  set(turn, id, failed);
  turn.emit({ do: "keep", entry: failed });
  pump(turn);
}

/** Nothing is wrong yet, but the person is told, and a dead line is noticed long before the next heartbeat. */
export function slowAck(turn: Turn, id: CommandId, attempts: number): void {
  const entry = find(turn, id);
  if (entry?.state !== "sent" || entry.attempts !== attempts) return;
  set(turn, id, { problem: "slow" });
  turn.emit({ do: "probe" });
}

export function lateAck(turn: Turn, id: CommandId, attempts: number): void {
  const entry = find(turn, id);
  if (entry?.state !== "sent" || entry.attempts !== attempts) return;
  set(turn, id, { state: "waiting", retry: true, problem: "unknown_outcome" });
  pump(turn);
}

/** The person asks for another attempt. A refused attempt is not stored, so the same id is safe; a clashing id needs a fresh one. */
export function retry(turn: Turn, id: CommandId, fresh: CommandId): void {
  const entry = find(turn, id);
  if (entry?.state !== "failed") return;
  const next = entry.problem === "idempotency_mismatch" ? fresh : id;
  const again: Outgoing = {
    ...entry,
    id: next,
    state: "waiting",
    retry: next === id,
    not_before: 0,
    attempts: 0,
    problem: null,
  };
  turn.set({ outbox: turn.model.outbox.map((other) => (other.id === id ? again : other)) });
  if (next !== id) turn.emit({ do: "forget", id });
  turn.emit({ do: "keep", entry: again });
  pump(turn);
}

export function discard(turn: Turn, id: CommandId): void {
  const entry = find(turn, id);
  if (entry === undefined || (entry.state !== "failed" && entry.state !== "waiting")) return;
  remove(turn, id);
  pump(turn);
}

export function interrupt(turn: Turn): void {
  turn.set({ outbox: interrupted(turn.model.outbox) });
}

/** What an earlier run of this page left behind: it may have been on the line, so the server is asked to look first. */
export function restored(turn: Turn, kept: Outbox): void {
  const known = new Set(turn.model.outbox.map((entry) => entry.id));
  const back = kept
    .filter((entry) => !known.has(entry.id) && entry.state !== "stored")
    .map(
      (entry): Outgoing => ({
        ...entry,
        state: entry.state === "failed" ? "failed" : "waiting",
        retry: true,
        not_before: 0,
        attempts: 0,
      }),
    );
  turn.set({ outbox: [...back.sort((a, b) => a.at - b.at), ...turn.model.outbox].slice(0, OUTBOX_MAX) });
  pump(turn);
}

function remove(turn: Turn, id: CommandId): void {
  turn.set({ outbox: without(turn.model.outbox, id) });
  turn.emit({ do: "forget", id });
}

/**
 * The stored message itself has arrived (as an event or in a page): its echo has done its work, and the next in line may go. The
 * acknowledgement may come later; it then finds nothing and is not needed.
 */
export function arrived(turn: Turn, ids: Iterable<CommandId | null>): void {
  if (turn.model.outbox.length === 0) return;
  for (const id of ids) {
    if (id !== null && find(turn, id) !== undefined) remove(turn, id);
  }
  pump(turn);
}

/** Drops echoes that are acknowledged and whose event has passed, seen or skipped. */
export function settle(turn: Turn, id: ConversationId): void {
  const passed = turn.conversation(id)?.stream.seq ?? Number.POSITIVE_INFINITY;
  for (const entry of turn.model.outbox) {
    if (
      entry.conversation_id === id &&
      entry.state === "stored" &&
      entry.seq !== null &&
      entry.seq <= passed
    ) {
      remove(turn, entry.id);
    }
  }
}
