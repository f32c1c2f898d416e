/**
 * What one event, summary or mark does to one conversation: counts, preview, window. Pure steps; `reduce.ts` decides when they happen.
 *
 * Counting rule (PROTOCOL.md): others' messages after max(read_no, joined_no), less deleted; sending moves one's own read_no.
 */
import type { UserId } from "../wire/ids.ts";
import type { LogEvent, Message, Summary } from "../wire/types.ts";
import type { Conversation } from "./state.ts";
import { streamAt } from "./stream.ts";
import { append, change, coversAfter, type Window } from "./window.ts";

/** How long someone counts as typing after their last sign of it, in milliseconds. */
export const TYPING_SHOWN_MS = 6_000;

/** `countedTo` of a conversation whose counts have missed something: they wait for a summary that is as new as the stream. */
export const FROZEN = Number.MAX_SAFE_INTEGER;

export function newConversation(summary: Summary, activity: number): Conversation {
  return {
    summary,
    countedTo: summary.head_seq,
    activity,
    stream: streamAt(summary.epoch, summary.head_seq),
    filling: false,
    fillAttempts: 0,
    window: null,
    loading: { before: false, after: false, first: false },
    loadProblem: null,
    generation: 0,
    typing: new Map(),
    members: null,
  };
}

const isUnread = (message: Message, after: number, me: UserId): boolean =>
  message.by !== me && message.body !== null && message.message_no > after;

/**
 * Moves the own read mark up and recounts. `exact` is false when the messages in question are not loaded here: the count shown is then an
 * upper bound until a fresh summary arrives.
 */
export function readUpTo(
  conversation: Conversation,
  no: number,
  me: UserId,
): { conversation: Conversation; exact: boolean } {
  const { summary, window } = conversation;
  const read_no = Math.min(no, summary.head_no);
  if (read_no <= summary.read_no) return { conversation, exact: true };
  const after = Math.max(read_no, summary.joined_no);
  let unread = Math.min(summary.unread, summary.head_no - after);
  let exact = after >= summary.head_no;
  if (!exact && window !== null && coversAfter(window, after)) {
    unread = window.items.filter((message) => isUnread(message, after, me)).length;
    exact = true;
  }
  return {
    conversation: { ...conversation, summary: { ...summary, read_no, unread: Math.max(0, unread) } },
    exact,
  };
}

/** Takes a fresh summary, unless events have already carried us beyond it. The own latest mark survives either way. */
export function adopt(
  present: Conversation,
  fresh: Summary,
  mark: number,
  me: UserId,
): { conversation: Conversation; exact: boolean } {
  const newer = fresh.head_seq >= (present.countedTo === FROZEN ? present.stream.seq : present.countedTo);
  const base: Conversation = newer ? { ...present, summary: fresh, countedTo: fresh.head_seq } : present;
  // The mark only rises: a summary asked for before the last mark was stored must not bring its count back.
  return readUpTo(base, Math.max(mark, present.summary.read_no, fresh.read_no), me);
}

/** What an outline leaves out is read: the run ends before it, and what follows must not close up. */
const take = (window: Window, message: Message, outlined: boolean): Window =>
  outlined ? { ...window, moreAfter: true } : append(window, message);

function sent(
  conversation: Conversation,
  event: LogEvent,
  no: number,
  { body, outline }: Extract<LogEvent["event"], { kind: "message_sent" }>,
  me: UserId,
): Conversation {
  const mine = event.by === me;
  const message: Message = {
    conversation_id: event.conversation_id,
    message_no: no,
    seq: event.seq,
    by: event.by,
    at: event.at,
    body,
    edited: false,
    command_id: mine ? event.command_id : null,
  };
  const window = conversation.window === null ? null : take(conversation.window, message, outline === true);
  const typing = new Map(conversation.typing);
  typing.delete(event.by);
  const shown = { ...conversation, window, typing, activity: Math.max(conversation.activity, event.at) };
  if (event.seq <= conversation.countedTo) return shown;
  const { summary } = conversation;
  const head_no = Math.max(summary.head_no, no);
  if (mine)
    return {
      ...shown,
      summary: {
        ...summary,
        head_no,
        last_message: message,
        read_no: Math.max(summary.read_no, no),
        unread: 0,
      },
    };
  const unread =
    summary.unread + (isUnread(message, Math.max(summary.read_no, summary.joined_no), me) ? 1 : 0);
  return { ...shown, summary: { ...summary, head_no, last_message: message, unread } };
}

function edited(conversation: Conversation, no: number, with_: (message: Message) => Message): Conversation {
  const { summary, window } = conversation;
  const last = summary.last_message;
  return {
    ...conversation,
    window: window === null ? null : change(window, no, with_),
    summary: last?.message_no === no ? { ...summary, last_message: with_(last) } : summary,
  };
}

function deleted(conversation: Conversation, event: LogEvent, no: number, me: UserId): Conversation {
  const target = conversation.window?.items.find((message) => message.message_no === no);
  const next = edited(conversation, no, (message) => ({ ...message, body: null }));
  const { summary } = next;
  const counted =
    event.seq > conversation.countedTo &&
    target !== undefined &&
    isUnread(target, Math.max(summary.read_no, summary.joined_no), me);
  return counted ? { ...next, summary: { ...summary, unread: Math.max(0, summary.unread - 1) } } : next;
}

function members(conversation: Conversation, event: LogEvent, difference: number): Conversation {
  const { summary } = conversation;
  const member_count = Math.max(
    0,
    summary.member_count + (event.seq > conversation.countedTo ? difference : 0),
  );
  return { ...conversation, members: null, summary: { ...summary, member_count } };
}

/** Applies the next event in order. The stream has made sure that it is the next. */
export function apply(conversation: Conversation, event: LogEvent, me: UserId): Conversation {
  const next = applyBody(conversation, event, me);
  return event.seq > next.countedTo ? { ...next, countedTo: event.seq } : next;
}

function applyBody(conversation: Conversation, event: LogEvent, me: UserId): Conversation {
  const what = event.event;
  switch (what.kind) {
    case "message_sent":
      return sent(conversation, event, what.message_no, what, me);
    case "message_edited":
      return edited(conversation, what.target_no, (message) => ({
        ...message,
        body: what.body,
        edited: true,
      }));
    case "message_deleted":
      return deleted(conversation, event, what.target_no, me);
    case "settings_changed": {
      const { summary } = conversation;
      return {
        ...conversation,
        summary: {
          ...summary,
          title: what.title ?? summary.title,
          topic: what.topic ?? summary.topic,
          visibility: what.visibility ?? summary.visibility,
        },
      };
    }
    case "member_added":
      return members(conversation, event, 1);
    case "member_removed":
      return members(conversation, event, -1);
    case "role_changed": {
      const { summary } = conversation;
      const mine = what.user_id === me;
      return { ...conversation, members: null, summary: mine ? { ...summary, my_role: what.role } : summary };
    }
    case "other":
      return conversation;
  }
}
