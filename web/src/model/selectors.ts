/** Questions to the model. Derived, never stored; each answers the same reference until what it reads changes. */
import { strings } from "../lib/strings.ts";
import type { ConversationId, UserId } from "../wire/ids.ts";
import type { Named, User } from "../wire/types.ts";
import type { Outgoing } from "./outbox.ts";
import type { Conversation, Model } from "./state.ts";

/** Remembers the last answer for the last argument. */
function once<A extends object, R>(derive: (from: A) => R): (from: A) => R {
  let last: { from: A; answer: R } | null = null;
  return (from) => {
    if (last?.from !== from) last = { from, answer: derive(from) };
    return last.answer;
  };
}

const sorted = once((conversations: Model["conversations"]): readonly Conversation[] =>
  [...conversations.values()].sort(
    (a, b) => b.activity - a.activity || (a.summary.id < b.summary.id ? -1 : 1),
  ),
);

/** The inbox, newest activity first. */
export const inboxOf = (model: Model): readonly Conversation[] => sorted(model.conversations);

export const unreadTotal = (model: Model): number =>
  inboxOf(model).reduce((total, { summary }) => total + summary.unread, 0);

export function titleOf(summary: Pick<Named, "title" | "peer">): string {
  return summary.peer?.display_name ?? summary.title ?? strings.conversation.untitled;
}

export function nameOf(people: Model["people"], id: UserId): string {
  return people.get(id)?.display_name ?? strings.someone;
}

export function personOf(model: Model, id: UserId): User | null {
  return model.people.get(id) ?? null;
}

const NONE: readonly Outgoing[] = [];
const grouped = once((outbox: Model["outbox"]) => {
  const groups = new Map<ConversationId, Outgoing[]>();
  for (const entry of outbox) {
    const group = groups.get(entry.conversation_id);
    if (group) group.push(entry);
    else groups.set(entry.conversation_id, [entry]);
  }
  return groups as ReadonlyMap<ConversationId, readonly Outgoing[]>;
});

/** A message has been asked for and the server is slow to say what became of it, or says that it cannot store it yet. */
export const isServerSlow = (model: Model): boolean =>
  model.live &&
  model.outbox.some(
    ({ state, problem }) =>
      problem !== null && (state === "sent" || state === "waiting") && problem !== "rate_limited",
  );

/** What this person has sent there and not yet seen stored, in the order of typing. */
export const echoesOf = (model: Model, id: ConversationId): readonly Outgoing[] =>
  grouped(model.outbox).get(id) ?? NONE;
