/** Events, gaps, pages, resync and reset: everything that fills or voids a conversation's stream and window. */
import type { ConversationId } from "../wire/ids.ts";
import type { Head, LogEvent } from "../wire/types.ts";
import { apply, FROZEN } from "./conversation.ts";
import { arrived, settle } from "./reduce-outbox.ts";
import type { Conversation, Input, Turn } from "./state.ts";
import { accept, expect, fill, HELD_MAX, jump, missingFrom, type Passed, type Stream } from "./stream.ts";
import { addPage, emptyWindow, firstNo, lastNo, truncate } from "./window.ts";

/** A gap longer than this is not fetched event by event: the window is thrown away and its newest page read instead. */
export const FILL_MAX = 2_000;
/** Questions that bring nothing before we give up on a gap and start the window anew. */
const FILL_ATTEMPTS_MAX = 5;
const FILL_PAUSE_MS = 1_000;

const NOTHING_LOADING = { before: false, after: false, first: false } as const;

/** Lets events through: applies them in order, and asks for what is missing. */
export function pass(turn: Turn, id: ConversationId, passed: Passed): void {
  const present = turn.conversation(id);
  if (present === undefined) return;
  const me = turn.model.me.id;
  let next: Conversation = { ...present, stream: passed.stream };
  for (const event of passed.ready) next = apply(next, event, me);
  // What an outline leaves out is read as history when the room is shown. A first page on its way is read on from when it is here:
  // outlines come in crowds, and each with a page of its own would be a room that stays blank.
  const outlined = passed.ready.some(({ event }) => event.kind === "message_sent" && event.outline === true);
  const restart = outlined && !present.loading.first;
  if (restart) next = withoutWindow(next);
  turn.put(next);
  arrived(
    turn,
    passed.ready.map((event) => (event.by === me ? event.command_id : null)),
  );
  settle(turn, id);
  turn.need(passed.ready.filter((event) => event.event.kind === "message_sent").map((event) => event.by));
  askForGap(turn, id);
  if (!restart || turn.model.opened !== id) return;
  // The node may have overlooked under load that the room is on the screen.
  if (turn.model.live) turn.emit({ do: "send", frame: { t: "open", conversation_id: id } });
  load(turn, id, "newest");
}

/** Without its window: the next that is shown is a fresh page. */
function withoutWindow(conversation: Conversation): Conversation {
  return {
    ...conversation,
    window: null,
    generation: conversation.generation + 1,
    loading: NOTHING_LOADING,
  };
}

function askForGap(turn: Turn, id: ConversationId): void {
  const conversation = turn.conversation(id);
  if (conversation === undefined || conversation.filling) return;
  const from = missingFrom(conversation.stream);
  if (from === null) return;
  turn.put({ ...conversation, filling: true });
  turn.emit({ do: "fetch_events", id, fromSeq: from });
}

export function onEvent(turn: Turn, event: LogEvent): void {
  const id = event.conversation_id;
  const conversation = turn.conversation(id);
  if (conversation !== undefined) return pass(turn, id, accept(conversation.stream, event));
  // Not in the inbox yet: keep the event, and ask unless the inbox itself is still to come.
  const waiting = turn.model.orphans.get(id) ?? [];
  if (waiting.length === 0 && turn.model.inbox === "ready") turn.emit({ do: "fetch_summary", id });
  turn.set({ orphans: new Map(turn.model.orphans).set(id, [...waiting, event].slice(0, HELD_MAX)) });
}

/** Lets in the events that came before their conversation's summary did. */
export function adoptOrphans(turn: Turn, id: ConversationId): void {
  const waiting = turn.model.orphans.get(id);
  if (waiting === undefined) return;
  const orphans = new Map(turn.model.orphans);
  orphans.delete(id);
  turn.set({ orphans });
  for (const event of waiting) onEvent(turn, event);
}

export function filled(turn: Turn, id: ConversationId, items: readonly LogEvent[]): void {
  const conversation = turn.conversation(id);
  if (conversation === undefined) return;
  const passed = fill(conversation.stream, items);
  const moved = passed.stream.seq > conversation.stream.seq;
  const stuck = !moved && missingFrom(passed.stream) !== null;
  turn.put({ ...conversation, filling: stuck, fillAttempts: moved ? 0 : conversation.fillAttempts });
  if (stuck) return fillFailed(turn, id, "unavailable");
  pass(turn, id, passed);
}

/** The question failed or brought nothing: ask again after a pause, and after some of them start over. */
export function fillFailed(turn: Turn, id: ConversationId, code: string): void {
  const conversation = turn.conversation(id);
  if (conversation === undefined) return;
  const fillAttempts = conversation.fillAttempts + (code === "network" ? 0 : 1);
  if (fillAttempts > FILL_ATTEMPTS_MAX) {
    turn.put({ ...conversation, filling: false, fillAttempts: 0 });
    return startOver(turn, id, conversation.stream.epoch, furthest(conversation.stream));
  }
  turn.put({ ...conversation, filling: true, fillAttempts });
  turn.emit({
    do: "later",
    ms: FILL_PAUSE_MS * 2 ** Math.min(fillAttempts, 4),
    input: { on: "fill_again", id },
  });
}

export function fillAgain(turn: Turn, id: ConversationId): void {
  turn.change(id, { filling: false });
  askForGap(turn, id);
}

function furthest(stream: Stream): number {
  return Math.max(stream.target, stream.held[0] === undefined ? 0 : stream.held[0].seq - 1);
}

/** Learns from a summary or a resync that the log goes up to `head`. */
export function headIs(turn: Turn, id: ConversationId, epoch: number, head: number): void {
  const conversation = turn.conversation(id);
  if (conversation === undefined || head <= conversation.stream.seq) return;
  if (conversation.window === null) return pass(turn, id, jump(conversation.stream, epoch, head));
  if (head - conversation.stream.seq > FILL_MAX) return startOver(turn, id, epoch, head);
  turn.put({ ...conversation, stream: expect(conversation.stream, head) });
  askForGap(turn, id);
}

/** Throws the window away and moves on; an open conversation reads its newest page again. */
function startOver(turn: Turn, id: ConversationId, epoch: number, seq: number): void {
  const conversation = turn.conversation(id);
  if (conversation === undefined) return;
  turn.put({ ...withoutWindow(conversation), countedTo: FROZEN });
  turn.emit({ do: "fetch_summary", id });
  pass(turn, id, jump(conversation.stream, epoch, seq));
  if (turn.model.opened === id) load(turn, id, "newest");
}

export function onResync(turn: Turn, all: boolean, heads: readonly Head[]): void {
  for (const head of heads) {
    const conversation = turn.conversation(head.conversation_id);
    if (conversation?.window === null) {
      turn.put({ ...conversation, countedTo: FROZEN });
      turn.emit({ do: "fetch_summary", id: head.conversation_id });
    }
    headIs(turn, head.conversation_id, head.epoch, head.head_seq);
  }
  if (all) turn.emit({ do: "fetch_inbox" });
}

/** What we hold from `fromSeq` on is void. Counts come fresh with a summary; the stream goes on from there. */
export function onReset(turn: Turn, id: ConversationId, fromSeq: number): void {
  const conversation = turn.conversation(id);
  if (conversation === undefined) return;
  const seq = Math.min(conversation.stream.seq, Math.max(0, fromSeq - 1));
  turn.put({
    ...conversation,
    stream: { epoch: conversation.stream.epoch, seq, target: seq, held: [] },
    countedTo: FROZEN,
    filling: false,
    window: conversation.window === null ? null : truncate(conversation.window, fromSeq),
    generation: conversation.generation + 1,
    loading: NOTHING_LOADING,
  });
  turn.emit({ do: "fetch_summary", id });
  if (conversation.window !== null && !conversation.window.ready) load(turn, id, "newest");
}

export function open(turn: Turn, id: ConversationId, around: number | null): void {
  const { opened } = turn.model;
  turn.set({ around });
  if (opened !== id) {
    if (opened !== null && turn.model.live)
      turn.emit({ do: "send", frame: { t: "close", conversation_id: opened } });
    turn.set({ opened: id });
    if (turn.model.live) turn.emit({ do: "send", frame: { t: "open", conversation_id: id } });
  }
  const conversation = turn.conversation(id);
  if (conversation === undefined) {
    if (turn.model.inbox === "ready") turn.emit({ do: "fetch_summary", id });
    return;
  }
  turn.set({ around: null });
  const held = conversation.window?.items.some((message) => message.message_no === around) ?? false;
  if (around !== null && !held) return loadAround(turn, id, around);
  if (conversation.window === null || conversation.loadProblem !== null) load(turn, id, "newest");
}

export function close(turn: Turn): void {
  const { opened } = turn.model;
  if (opened === null) return;
  if (turn.model.live) turn.emit({ do: "send", frame: { t: "close", conversation_id: opened } });
  turn.set({ opened: null, around: null });
}

function fresh(conversation: Conversation): Conversation {
  return {
    ...conversation,
    window: emptyWindow,
    generation: conversation.generation + 1,
    loading: { ...NOTHING_LOADING, first: true },
    loadProblem: null,
  };
}

function loadAround(turn: Turn, id: ConversationId, no: number): void {
  const conversation = turn.conversation(id);
  if (conversation === undefined) return;
  const next = fresh(conversation);
  turn.put(next);
  turn.emit({ do: "fetch_page", id, query: { side: "around", no }, generation: next.generation });
}

export function load(turn: Turn, id: ConversationId, side: "before" | "after" | "newest"): void {
  const conversation = turn.conversation(id);
  if (conversation === undefined || conversation.loading.first) return;
  const { window, loading, generation } = conversation;
  if (side === "newest" || window === null || !window.ready) {
    const next = fresh(conversation);
    turn.put(next);
    return turn.emit({ do: "fetch_page", id, query: { side: "newest" }, generation: next.generation });
  }
  if (loading[side] || !(side === "before" ? window.moreBefore : window.moreAfter)) return;
  turn.put({ ...conversation, loading: { ...loading, [side]: true }, loadProblem: null });
  const no = side === "before" ? firstNo(window) : lastNo(window);
  turn.emit({ do: "fetch_page", id, query: { side, no }, generation });
}

const loadingKey = (side: "newest" | "before" | "after" | "around") =>
  side === "before" || side === "after" ? side : "first";

export function page(turn: Turn, answer: Extract<Input, { on: "page" }>): void {
  const conversation = turn.conversation(answer.id);
  if (conversation === undefined || conversation.generation !== answer.generation) return;
  const window = addPage(
    conversation.window ?? emptyWindow,
    answer.side,
    answer.items,
    answer.more,
    conversation.summary.head_no,
  );
  turn.put({
    ...conversation,
    window,
    loading: { ...conversation.loading, [loadingKey(answer.side)]: false },
    loadProblem: null,
  });
  arrived(
    turn,
    answer.items.map((message) => message.command_id),
  );
  turn.need(answer.items.map((message) => message.by));
  // Messages came while the page was on its way and it does not hold them: read on until the head is reached.
  if (answer.side !== "newest") return;
  if (window.moreAfter) load(turn, answer.id, "after");
  // Nothing to read on from: the first message of all came as an outline meanwhile.
  else if (window.items.length === 0 && conversation.window?.moreAfter === true)
    load(turn, answer.id, "newest");
}

export function pageFailed(turn: Turn, answer: Extract<Input, { on: "page_failed" }>): void {
  const conversation = turn.conversation(answer.id);
  if (conversation === undefined || conversation.generation !== answer.generation) return;
  const key = loadingKey(answer.side);
  turn.put({ ...conversation, loading: { ...conversation.loading, [key]: false }, loadProblem: answer.code });
}
