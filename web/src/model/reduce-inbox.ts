/** Summaries, counts and marks: the list of conversations and what is unread in it. */
import type { ConversationId } from "../wire/ids.ts";
import type { Summary } from "../wire/types.ts";
import { adopt, FROZEN, newConversation, readUpTo } from "./conversation.ts";
import { adoptOrphans, headIs, open } from "./reduce-history.ts";
import { settle } from "./reduce-outbox.ts";
import type { Turn } from "./state.ts";

/** How long the inbox may take to catch up with the stream before it is asked again. */
const REFRESH_MS = 1_000;

function meetPeople(turn: Turn, summary: Summary): void {
  if (summary.peer !== null) turn.meet([summary.peer]);
  const last = summary.last_message;
  if (last !== null && summary.kind !== "direct") turn.need([last.by]);
}

/** A mark has done its work once the server shows it. */
function confirmMark(turn: Turn, id: ConversationId, readNo: number): void {
  const mark = turn.model.marks.get(id);
  if (mark === undefined || readNo < mark) return;
  const marks = new Map(turn.model.marks);
  marks.delete(id);
  turn.set({ marks });
}

function present(turn: Turn, summary: Summary, activity: number): void {
  const id = summary.id;
  meetPeople(turn, summary);
  if (turn.model.missing.has(id)) {
    const missing = new Map(turn.model.missing);
    missing.delete(id);
    turn.set({ missing });
  }
  const known = turn.conversation(id);
  if (known === undefined) {
    turn.put(newConversation(summary, activity));
    adoptOrphans(turn, id);
    if (turn.model.opened === id) open(turn, id, turn.model.around);
    return;
  }
  const { conversation, exact } = adopt(known, summary, turn.model.marks.get(id) ?? 0, turn.model.me.id);
  turn.put({ ...conversation, activity: Math.max(activity, known.activity) });
  confirmMark(turn, id, summary.read_no);
  // Older than what events have told us, and not enough to count by: ask again when the inbox has caught up.
  if (summary.head_seq < known.stream.seq && (!exact || conversation.countedTo === FROZEN)) {
    turn.emit({ do: "later", ms: REFRESH_MS, input: { on: "refresh", id } });
  }
  headIs(turn, id, summary.epoch, summary.head_seq);
  settle(turn, id);
}

/** A page of the inbox, newest activity first. One without messages keeps the place the server gave it. */
export function inboxPage(turn: Turn, items: readonly Summary[], first: boolean, last: boolean): void {
  let place = first ? turn.now : Number.POSITIVE_INFINITY;
  if (!first) {
    for (const conversation of turn.model.conversations.values())
      place = Math.min(place, conversation.activity);
  }
  turn.set({
    listed: new Set([...(first ? [] : turn.model.listed), ...items.map((summary) => summary.id)]),
  });
  for (const summary of items) {
    place = summary.last_message?.at ?? place;
    present(turn, summary, place);
  }
  if (!last) return;
  turn.set({ inbox: "ready" });
  for (const id of turn.model.orphans.keys()) turn.emit({ do: "fetch_summary", id });
  for (const id of turn.model.conversations.keys()) {
    if (!turn.model.listed.has(id)) turn.emit({ do: "fetch_summary", id });
  }
  const { opened, around } = turn.model;
  if (opened !== null) open(turn, opened, around);
}

/** A single summary: of a conversation in the inbox, one just joined, or one looked at by its link. */
export function takeSummary(turn: Turn, summary: Summary): void {
  if (summary.my_role === null) {
    // Seen but not joined: its page offers to join; it has no place in the inbox.
    return turn.set({ missing: new Map(turn.model.missing).set(summary.id, "not_joined") });
  }
  present(turn, summary, summary.last_message?.at ?? turn.now);
}

export function summaryFailed(turn: Turn, id: ConversationId, code: string): void {
  if (code === "network") return;
  const orphans = new Map(turn.model.orphans);
  orphans.delete(id);
  turn.set({ orphans });
  if (code === "not_found" || code === "forbidden") removedNow(turn, id, code);
}

/** We are in: the stream begins anew with our own arrival. */
export function addedNow(turn: Turn, summary: Summary): void {
  const known = turn.conversation(summary.id);
  if (known !== undefined && known.stream.seq >= summary.head_seq) return takeSummary(turn, summary);
  present(turn, summary, turn.now);
}

/** We are out. What was written but not sent stays in the outbox and in the draft, and says so. */
export function removedNow(turn: Turn, id: ConversationId, reason: string): void {
  const conversations = new Map(turn.model.conversations);
  conversations.delete(id);
  turn.set({ conversations, missing: new Map(turn.model.missing).set(id, reason) });
}

/** This person has read up to here, on this device or another. */
export function marker(turn: Turn, id: ConversationId, no: number): void {
  confirmMark(turn, id, no);
  const known = turn.conversation(id);
  if (known === undefined) return;
  const { conversation, exact } = readUpTo(known, no, turn.model.me.id);
  turn.put(conversation);
  if (!exact) turn.emit({ do: "fetch_summary", id });
}

/** This person sees the end of the conversation, here and now. */
export function seen(turn: Turn, id: ConversationId, upTo: number): void {
  const known = turn.conversation(id);
  if (known === undefined || upTo <= known.summary.read_no) return;
  const { conversation } = readUpTo(known, upTo, turn.model.me.id);
  turn.put(conversation);
  turn.set({ marks: new Map(turn.model.marks).set(id, upTo) });
  if (turn.model.live) turn.emit({ do: "send", frame: { t: "mark", conversation_id: id, read_no: upTo } });
}

/** Marks may have been lost with the line: say the latest of each conversation once more. */
export function resendMarks(turn: Turn): void {
  for (const [conversation_id, read_no] of turn.model.marks) {
    turn.emit({ do: "send", frame: { t: "mark", conversation_id, read_no } });
  }
}
