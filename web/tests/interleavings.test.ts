/**
 * The law of the model: whatever the order in which backfill, live events, duplicates, losses and reconnects happen, everyone ends with the
 * same timeline and the same counts, and no message shows before its predecessor. Each failure names its seed.
 */
import { describe, expect, it } from "vitest";
import type { Random } from "../src/lib/clock.ts";
import { type Client, idOf, seenTexts, stage } from "./arrange.ts";
import { seeded } from "./fake-clock.ts";

const SEEDS = Number(process.env.HUBBUB_SEEDS ?? 60);
const STEPS = 60;

const pick = <T>(random: Random, from: readonly T[]): T => {
  const chosen = from[Math.floor(random() * from.length)];
  if (chosen === undefined) throw new Error("nothing to pick from");
  return chosen;
};

/** Loses, repeats and swaps frames of a held-back line. Control frames keep their place: TCP loses nothing, servers do. */
function mangle<T extends { readonly t: string }>(frames: readonly T[], random: Random): readonly T[] {
  const out: T[] = [];
  for (const frame of frames) {
    const luck = random();
    if (frame.t !== "event") out.push(frame);
    else if (luck < 0.25) continue;
    else if (luck < 0.4) out.push(frame, frame);
    else if (luck < 0.55 && out.at(-1)?.t === "event") out.splice(-1, 0, frame);
    else out.push(frame);
  }
  return out;
}

async function run(seed: number): Promise<void> {
  const random = seeded(seed);
  const { clock, server, client } = stage(seed);
  server.catchUpMax = pick(random, [3, 1_000]);
  const users = ["ada", "bob", "cy"].map((name) => server.addUser(name));
  const [first] = users;
  if (first === undefined) throw new Error("no users");
  const place = server.addPlace({ kind: "group", by: first, members: users.slice(1), title: "All" });
  const id = idOf(place);
  for (let no = 0; no < Math.floor(random() * 120); no += 1)
    server.say(place, pick(random, users), `before ${no}`);
  const clients: Client[] = [];
  for (const user of users) clients.push(await client(user));
  const sent: string[] = [];

  const steps: readonly (() => unknown)[] = [
    () => {
      const text = `text ${sent.length}`;
      sent.push(text);
      pick(random, clients).chat.send(id, text);
    },
    () => server.say(place, pick(random, users), `elsewhere ${random()}`),
    () => server.cut(pick(random, clients).browser),
    () => server.holdBack(pick(random, clients).browser),
    () => server.release(pick(random, clients).browser, (frames) => mangle(frames, random)),
    () => pick(random, clients).chat.dispatch({ on: "open", id, around: null }),
    () => pick(random, clients).chat.dispatch({ on: "load", id, side: "before" }),
    () => pick(random, clients).chat.dispatch({ on: "load", id, side: "newest" }),
    () =>
      server.refusals.push({
        code: pick(random, ["busy", "unavailable", "unknown_outcome"]),
        retry_after_ms: 300,
      }),
    () => {
      server.swallowAcks = !server.swallowAcks;
    },
    () => {
      server.down = !server.down;
    },
    () => {
      server.outlines = !server.outlines;
    },
    () => {
      server.holdPages = !server.holdPages;
      if (!server.holdPages) server.releasePages();
    },
    () => clock.advance(Math.floor(random() * 4_000)),
  ];
  const neverAhead = () => {
    for (const { model } of clients) {
      const items = model().conversations.get(id)?.window?.items ?? [];
      items.forEach((message, index) => {
        const before = items[index - 1];
        if (before !== undefined) expect(message.message_no, `seed ${seed}`).toBe(before.message_no + 1);
      });
    }
  };
  for (let turn = 0; turn < STEPS; turn += 1) {
    await pick(random, steps)();
    await clock.advance(0);
    neverAhead();
  }

  // Peace: everything works again, and everyone looks at the whole conversation.
  server.down = false;
  server.swallowAcks = false;
  server.outlines = false;
  server.holdPages = false;
  server.releasePages();
  server.refusals.length = 0;
  for (const { browser } of clients) server.release(browser);
  await clock.advance(120_000);
  // A last event that the server lost is found by the one after it.
  server.say(place, first, "good night");
  await clock.advance(60_000);
  for (const { chat } of clients) chat.dispatch({ on: "open", id, around: null });
  await clock.advance(1_000);
  for (let turn = 0; turn < 12; turn += 1) {
    for (const { chat } of clients) chat.dispatch({ on: "load", id, side: "before" });
    await clock.advance(0);
  }
  const truth = server.messages(place);
  for (const text of sent)
    expect(
      truth.filter(({ body }) => body === text),
      `seed ${seed}: ${text}`,
    ).toHaveLength(1);
  clients.forEach(({ model }, index) => {
    const user = users[index];
    if (user === undefined) throw new Error("no user");
    expect(seenTexts(model(), id), `seed ${seed}`).toEqual(truth.map(({ body }) => body));
    expect(model().outbox, `seed ${seed}`).toEqual([]);
    const { unread, read_no, head_no } = server.summary(server.place(place), user.id);
    expect(model().conversations.get(id)?.summary, `seed ${seed}`).toMatchObject({
      unread,
      read_no,
      head_no,
    });
  });
}

describe("any interleaving of backfill, live events, duplicates and reconnects", () => {
  it(`ends in the same timeline with exact counts (${SEEDS} seeds)`, { timeout: 120_000 }, async () => {
    for (let seed = 1; seed <= SEEDS; seed += 1) await run(seed);
  });
});
