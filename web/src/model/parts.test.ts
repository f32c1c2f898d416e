import { describe, expect, it } from "vitest";
import type { CommandId, ConversationId } from "../wire/ids.ts";
import { commandId, conversationId, userId } from "../wire/ids.ts";
import type { LogEvent, Message } from "../wire/types.ts";
import { due, interrupted, type Outbox, outgoing, pauseMs, update } from "./outbox.ts";
import {
  accept,
  expect as expectUpTo,
  fill,
  HELD_MAX,
  jump,
  missingFrom,
  type Stream,
  streamAt,
} from "./stream.ts";
import { addPage, append, coversAfter, emptyWindow, truncate } from "./window.ts";

function must<T>(value: T | null): T {
  if (value === null) throw new Error("not an id");
  return value;
}
const id = (no: number): string => `0198a7a0-0000-7000-8000-${no.toString(16).padStart(12, "0")}`;
const PLACE: ConversationId = must(conversationId(id(1)));
const OTHER: ConversationId = must(conversationId(id(2)));
const BOB = must(userId(id(3)));
const command = (no: number): CommandId => must(commandId(id(no)));

const event = (seq: number): LogEvent => ({
  conversation_id: PLACE,
  epoch: 1,
  seq,
  at: seq,
  by: BOB,
  command_id: command(100 + seq),
  event: { kind: "message_sent", message_no: seq, body: `${seq}` },
});
const message = (no: number): Message => ({
  conversation_id: PLACE,
  message_no: no,
  seq: no + 1,
  by: BOB,
  at: no,
  body: `${no}`,
  edited: false,
  command_id: null,
});
const numbers = (from: number, to: number): Message[] =>
  Array.from({ length: to - from + 1 }, (_, at) => message(from + at));

/** Feeds events one by one; answers the seqs let through, in order. */
function feed(stream: Stream, seqs: readonly number[]): { stream: Stream; through: number[] } {
  const through: number[] = [];
  for (const seq of seqs) {
    const passed = accept(stream, event(seq));
    stream = passed.stream;
    through.push(...passed.ready.map((ready) => ready.seq));
  }
  return { stream, through };
}

describe("the stream of a conversation", () => {
  it.each([
    ["in order", [5, 6, 7], [5, 6, 7], null],
    ["with repeats", [5, 5, 4, 6, 5], [5, 6], null],
    ["out of order", [7, 6, 5], [5, 6, 7], null],
    ["with a gap", [5, 8, 9], [5], 6],
    ["with a gap at once", [9], [], 5],
  ] as const)("lets events %s through by seq, each once", (_how, seqs, through, missing) => {
    const fed = feed(streamAt(1, 4), seqs);
    expect(fed.through).toEqual(through);
    expect(missingFrom(fed.stream)).toBe(missing);
  });

  it("goes on with what it held back when the gap is filled", () => {
    const { stream } = feed(streamAt(1, 4), [7, 8]);
    const passed = fill(stream, [event(5), event(6)]);
    expect(passed.ready.map(({ seq }) => seq)).toEqual([5, 6, 7, 8]);
    expect(missingFrom(passed.stream)).toBeNull();
  });

  it("skips numbers that an answer leaves out between its items, and nothing after its last", () => {
    const { stream } = feed(streamAt(1, 4), [12]);
    const passed = fill(stream, [event(6), event(9)]);
    expect(passed.ready.map(({ seq }) => seq)).toEqual([6, 9]);
    expect(missingFrom(passed.stream)).toBe(10);
  });

  it("knows of a missing end when told how far the log goes", () => {
    const stream = expectUpTo(streamAt(1, 4), 6);
    expect(missingFrom(stream)).toBe(5);
    expect(missingFrom(fill(stream, [event(5), event(6)]).stream)).toBeNull();
    expect(missingFrom(jump(stream, 2, 6).stream)).toBeNull();
  });

  it("holds a bounded number of early events", () => {
    const { stream } = feed(
      streamAt(1, 0),
      Array.from({ length: HELD_MAX + 50 }, (_, at) => at + 2),
    );
    expect(stream.held).toHaveLength(HELD_MAX);
    expect(stream.held[0]?.seq).toBe(2);
  });
});

describe("the window on history", () => {
  const held = (from: number, to: number) => addPage(emptyWindow, "newest", numbers(from, to), from > 1, to);

  it("grows at both ends into one run, whatever overlaps", () => {
    const window = addPage(held(50, 60), "before", numbers(40, 52), true, 60);
    expect(window.items.map(({ message_no }) => message_no)).toEqual(
      numbers(40, 60).map(({ message_no }) => message_no),
    );
    expect(append(window, message(60))).toBe(window);
    expect(append(window, message(61)).items.at(-1)?.message_no).toBe(61);
  });

  it("takes no live message while it ends before the head", () => {
    const window = addPage(emptyWindow, "around", numbers(10, 20), false, 99);
    expect(window).toMatchObject({ moreBefore: true, moreAfter: true });
    expect(append(window, message(100))).toBe(window);
    expect(addPage(window, "after", numbers(21, 99), false, 99).moreAfter).toBe(false);
  });

  it("keeps what live events brought while its first page was on its way", () => {
    const window = addPage(append(emptyWindow, message(51)), "newest", numbers(1, 50), false, 51);
    expect(window.items).toHaveLength(51);
    expect(window.moreAfter).toBe(false);
  });

  it("reads on when the page is older than the head", () => {
    expect(addPage(emptyWindow, "newest", numbers(1, 50), false, 51).moreAfter).toBe(true);
  });

  it("knows what it can count exactly", () => {
    expect(coversAfter(held(50, 60), 49)).toBe(true);
    expect(coversAfter(held(50, 60), 48)).toBe(false);
    expect(coversAfter(held(1, 60), 0)).toBe(true);
    expect(coversAfter(emptyWindow, 0)).toBe(false);
  });

  it("drops what a reset voids", () => {
    expect(truncate(held(1, 9), 8).items.at(-1)?.message_no).toBe(6);
  });
});

describe("the outbox", () => {
  const box: Outbox = [
    outgoing(command(11), PLACE, "one", 1),
    outgoing(command(12), PLACE, "two", 2),
    outgoing(command(13), OTHER, "else", 3),
  ];

  it("lets one message per conversation go at a time, the oldest first", () => {
    expect(due(box, 0).map(({ body }) => body)).toEqual(["one", "else"]);
    const sent = update(box, command(11), { state: "sent" });
    expect(due(sent, 0).map(({ body }) => body)).toEqual(["else"]);
    expect(due(update(sent, command(11), { state: "stored" }), 0).map(({ body }) => body)).toEqual([
      "two",
      "else",
    ]);
    expect(due(update(sent, command(11), { state: "failed" }), 0).map(({ body }) => body)).toEqual([
      "two",
      "else",
    ]);
  });

  it("lets nothing overtake a message that has to wait", () => {
    const waiting = update(box, command(11), { not_before: 500 });
    expect(due(waiting, 499).map(({ body }) => body)).toEqual(["else"]);
    expect(due(waiting, 500).map(({ body }) => body)).toEqual(["one", "else"]);
  });

  it("marks as repetition only what was on the line", () => {
    const [one, two] = interrupted(update(box, command(11), { state: "sent" }));
    expect(one).toMatchObject({ state: "waiting", retry: true });
    expect(two).toMatchObject({ state: "waiting", retry: false });
  });

  it("waits as long as the server says, else longer each time", () => {
    expect(pauseMs(3, 120)).toBe(120);
    expect(pauseMs(1, null)).toBeLessThan(pauseMs(2, null));
    expect(pauseMs(50, null)).toBe(30_000);
  });
});
