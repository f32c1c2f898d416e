/**
 * The client's mind: (model, input, now) → (model, effects). Every change of live data passes here; see `state.ts` for the vocabulary.
 *
 * Never: I/O, clocks, ids, React. An incoming frame never touches what is open or what is being written.
 */
import type { ConversationId, UserId } from "../wire/ids.ts";
import type { ServerFrame } from "../wire/types.ts";
import { TYPING_SHOWN_MS } from "./conversation.ts";
import {
  close,
  fillAgain,
  filled,
  fillFailed,
  headIs,
  load,
  onEvent,
  onReset,
  onResync,
  open,
  page,
  pageFailed,
} from "./reduce-history.ts";
import {
  addedNow,
  inboxPage,
  marker,
  removedNow,
  resendMarks,
  seen,
  summaryFailed,
  takeSummary,
} from "./reduce-inbox.ts";
import {
  discard,
  interrupt,
  lateAck,
  onAck,
  onRefusal,
  pump,
  restored,
  retry,
  send,
  slowAck,
} from "./reduce-outbox.ts";
import { type Effect, type Input, type Model, Turn } from "./state.ts";

export function reduce(model: Model, input: Input, now: number): readonly [Model, readonly Effect[]] {
  const turn = new Turn(model, now);
  take(turn, input);
  return [turn.model, turn.effects];
}

function take(turn: Turn, input: Input): void {
  switch (input.on) {
    case "frames":
      for (const frame of input.frames) takeFrame(turn, frame);
      return;
    case "disconnected":
      turn.set({ live: false });
      return interrupt(turn);
    case "inbox_page":
      return inboxPage(turn, input.items, input.first, input.last);
    case "inbox_failed":
      return turn.set({ inbox: turn.model.inbox === "ready" ? "ready" : "failed" });
    case "reload_inbox":
      turn.set({ inbox: "loading" });
      return turn.emit({ do: "fetch_inbox" });
    case "summary":
      return takeSummary(turn, input.summary);
    case "summary_failed":
      return summaryFailed(turn, input.id, input.code);
    case "page":
      return page(turn, input);
    case "page_failed":
      return pageFailed(turn, input);
    case "filled":
      return filled(turn, input.id, input.items);
    case "fill_failed":
      return fillFailed(turn, input.id, input.code);
    case "event_due":
      return headIs(turn, input.id, input.epoch, input.seq);
    case "fill_again":
      return fillAgain(turn, input.id);
    case "people":
      return turn.meet(input.users);
    case "members":
      turn.meet(input.members.map((member) => member.user));
      return turn.change(input.id, { members: input.members });
    case "want_members":
      return turn.emit({ do: "fetch_members", id: input.id });
    case "open":
      return open(turn, input.id, input.around);
    case "close":
      return close(turn);
    case "reload_history":
      turn.change(input.id, { loadProblem: null });
      return load(turn, input.id, "newest");
    case "load":
      return load(turn, input.id, input.side);
    case "send":
      return send(turn, input.id, input.conversation, input.body);
    case "retry":
      return retry(turn, input.id, input.fresh);
    case "discard":
      return discard(turn, input.id);
    case "restored":
      return restored(turn, input.outbox);
    case "pump":
      return pump(turn);
    case "ack_slow":
      return slowAck(turn, input.id, input.attempts);
    case "ack_late":
      return lateAck(turn, input.id, input.attempts);
    case "seen":
      return seen(turn, input.id, input.upTo);
    case "typing":
      if (turn.model.live)
        turn.emit({ do: "send", frame: { t: "typing", conversation_id: input.id, on: input.typing } });
      return;
    case "refresh":
      return turn.emit({ do: "fetch_summary", id: input.id });
    case "typing_faded":
      return fadeTyping(turn, input.id);
  }
}

function takeFrame(turn: Turn, frame: ServerFrame): void {
  switch (frame.t) {
    case "welcome":
      turn.meet([frame.user]);
      return turn.set({ me: frame.user, limits: frame.limits });
    case "live":
      return nowLive(turn);
    case "event":
      return onEvent(turn, frame.event);
    case "ack":
      return onAck(turn, frame);
    case "error":
      return frame.id === null ? undefined : onRefusal(turn, frame.id, frame.code, frame.retry_after_ms);
    case "marker":
      return frame.user_id === turn.model.me.id && frame.read_no !== null
        ? marker(turn, frame.conversation_id, frame.read_no)
        : undefined;
    case "typing":
      return typing(turn, frame.conversation_id, frame.user_id, frame.on);
    case "added":
      return addedNow(turn, frame.conversation);
    case "removed":
      return removedNow(turn, frame.conversation_id, frame.reason);
    case "resync":
      return onResync(turn, frame.all, frame.conversations);
    case "reset":
      return onReset(turn, frame.conversation_id, frame.from_seq);
    case "presence":
    case "drain":
    case "pong":
      return;
  }
}

/** Everything missed is here: read the inbox, say again what may have been lost, and tell what is on screen. */
function nowLive(turn: Turn): void {
  turn.set({ live: true, inbox: turn.model.inbox === "ready" ? "ready" : "loading" });
  turn.emit({ do: "fetch_inbox" });
  resendMarks(turn);
  const { opened } = turn.model;
  if (opened !== null) turn.emit({ do: "send", frame: { t: "open", conversation_id: opened } });
  pump(turn);
}

function typing(turn: Turn, id: ConversationId, who: UserId, on: boolean): void {
  const conversation = turn.conversation(id);
  if (conversation === undefined || who === turn.model.me.id) return;
  const next = new Map(conversation.typing);
  if (on) {
    next.set(who, turn.now + TYPING_SHOWN_MS);
    turn.need([who]);
    turn.emit({ do: "later", ms: TYPING_SHOWN_MS, input: { on: "typing_faded", id } });
  } else {
    next.delete(who);
  }
  turn.put({ ...conversation, typing: next });
}

function fadeTyping(turn: Turn, id: ConversationId): void {
  const conversation = turn.conversation(id);
  if (conversation === undefined) return;
  const still = new Map([...conversation.typing].filter(([, until]) => until > turn.now));
  if (still.size !== conversation.typing.size) turn.put({ ...conversation, typing: still });
}
