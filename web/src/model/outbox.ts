/**
 * What this person has sent and the server has not yet shown back. An entry is named by its command id from the key press to the stored
 * event, so an attempt can be repeated without a second message.
 *
 * Never: drop an entry silently; send two at once to one conversation (the order of typing is the order of storing).
 */
import type { CommandId, ConversationId } from "../wire/ids.ts";

/** Entries that may wait at once; then the composer says so. */
export const OUTBOX_MAX = 200;

export interface Outgoing {
  readonly id: CommandId;
  readonly conversation_id: ConversationId;
  readonly body: string;
  readonly at: number;
  readonly state: "waiting" | "sent" | "stored" | "failed";
  /** It has been on a line before: the server should look for it first. */
  readonly retry: boolean;
  /** Earliest time of the next attempt, milliseconds since the epoch. */
  readonly not_before: number;
  readonly attempts: number;
  /** The error code of the last refusal, or `slow` while an attempt has been without an answer for long. */
  readonly problem: string | null;
  /** Known once acknowledged. */
  readonly seq: number | null;
}

export type Outbox = readonly Outgoing[];

export function outgoing(id: CommandId, conversation: ConversationId, body: string, at: number): Outgoing {
  return {
    id,
    conversation_id: conversation,
    body,
    at,
    state: "waiting",
    retry: false,
    not_before: 0,
    attempts: 0,
    problem: null,
    seq: null,
  };
}

export function update(outbox: Outbox, id: CommandId, changes: Partial<Outgoing>): Outbox {
  return outbox.map((entry) => (entry.id === id ? { ...entry, ...changes } : entry));
}

export const without = (outbox: Outbox, id: CommandId): Outbox => outbox.filter((entry) => entry.id !== id);

/** The entry of each conversation whose turn it is: the oldest unfinished one, unless it is on the line or must wait. */
export function due(outbox: Outbox, now: number): readonly Outgoing[] {
  const first = new Map<ConversationId, Outgoing>();
  for (const entry of outbox) {
    if (entry.state === "stored" || entry.state === "failed") continue;
    if (!first.has(entry.conversation_id)) first.set(entry.conversation_id, entry);
  }
  return [...first.values()].filter((entry) => entry.state === "waiting" && entry.not_before <= now);
}

/** The line is gone: what was on it may or may not be stored, so it waits and is marked as a repetition. */
export function interrupted(outbox: Outbox): Outbox {
  return outbox.map((entry) =>
    entry.state === "sent" ? { ...entry, state: "waiting", retry: true } : entry,
  );
}

/** What to do with a refusal: try again by itself, or leave it to the person. */
export function isTransient(code: string): boolean {
  return ["rate_limited", "busy", "unavailable", "storage_full", "unknown_outcome"].includes(code);
}

/** The pause before the next attempt when the server names none. */
const RETRY_MS = 1_000;
const RETRY_MAX_MS = 30_000;

export function pauseMs(attempts: number, hint: number | null): number {
  return hint ?? Math.min(RETRY_MAX_MS, RETRY_MS * 2 ** Math.min(attempts, 5));
}
