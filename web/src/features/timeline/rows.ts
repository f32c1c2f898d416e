/** What the timeline shows, line by line: messages in groups, what waits to be sent, and above them days and the unread mark. Pure. */
import { dayNumber } from "../../lib/format.ts";
import type { Outgoing } from "../../model/outbox.ts";
import type { UserId } from "../../wire/ids.ts";
import type { Message } from "../../wire/types.ts";

/** Messages of one person within this time stand together. */
const GROUP_MS = 5 * 60_000;

export interface Row {
  /** An echo and the stored message that replaces it share it, so the line stays where it is. */
  readonly key: string;
  readonly said:
    | { readonly is: "message"; readonly message: Message }
    | { readonly is: "echo"; readonly entry: Outgoing };
  readonly at: number;
  /** The first line of its day carries the day's title. It is part of the line: a line of its own would move when history is prepended. */
  readonly opensDay: boolean;
  readonly opensUnread: boolean;
  readonly first: boolean;
  readonly last: boolean;
}

const keyOf = (message: Message): string => message.command_id ?? `no-${message.message_no}`;

interface Spoken {
  readonly by: UserId;
  readonly at: number;
}

const sameDay = (a: Spoken, b: Spoken): boolean => dayNumber(a.at) === dayNumber(b.at);

const together = (a: Spoken | undefined, b: Spoken | undefined): boolean =>
  a !== undefined && b !== undefined && a.by === b.by && Math.abs(b.at - a.at) < GROUP_MS && sameDay(a, b);

export interface RowSource {
  readonly messages: readonly Message[];
  readonly echoes: readonly Outgoing[];
  readonly me: UserId;
  /** The unread mark stands after this number; null for none. */
  readonly unreadAfter: number | null;
}

export function buildRows({ messages, echoes, me, unreadAfter }: RowSource): readonly Row[] {
  const breakAt =
    unreadAfter === null
      ? -1
      : messages.findIndex((message) => message.message_no > unreadAfter && message.by !== me);
  const spoken: readonly Spoken[] = [...messages, ...echoes.map((entry) => ({ by: me, at: entry.at }))];
  const frame = (index: number, item: Spoken) => {
    const before = spoken[index - 1];
    return {
      at: item.at,
      opensDay: before === undefined || !sameDay(before, item),
      opensUnread: index === breakAt,
      first: index === breakAt || !together(before, item),
      last: index + 1 === breakAt || !together(item, spoken[index + 1]),
    };
  };
  return [
    ...messages.map(
      (message, index): Row => ({
        key: keyOf(message),
        said: { is: "message", message },
        ...frame(index, message),
      }),
    ),
    ...echoes.map(
      (entry, index): Row => ({
        key: entry.id,
        said: { is: "echo", entry },
        ...frame(messages.length + index, { by: me, at: entry.at }),
      }),
    ),
  ];
}
