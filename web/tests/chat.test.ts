/** A whole client without a screen against the fake server: sending, reconnecting, healing, counting. */
import { describe, expect, it } from "vitest";
import { ACK_SLOW_MS } from "../src/model/reduce-outbox.ts";
import { isServerSlow } from "../src/model/selectors.ts";
import type { ClientFrame, ServerFrame } from "../src/wire/frames.gen.ts";
import { type Client, idOf, type Stage, seenTexts, stage } from "./arrange.ts";

const MINUTE = 60_000;

interface Pair extends Stage {
  readonly ada: Client;
  readonly bob: Client;
  readonly users: {
    readonly ada: ReturnType<Stage["server"]["addUser"]>;
    readonly bob: ReturnType<Stage["server"]["addUser"]>;
  };
  readonly place: string;
  readonly id: ReturnType<typeof idOf>;
}

/** Two people in a direct conversation that already has `before` messages of bob's. */
async function pair(before = 0): Promise<Pair> {
  const set = stage();
  const users = { ada: set.server.addUser("ada"), bob: set.server.addUser("bob") };
  const place = set.server.addPlace({ kind: "direct", by: users.ada, members: [users.bob] });
  for (let no = 1; no <= before; no += 1) set.server.say(place, users.bob, `old ${no}`);
  const ada = await set.client(users.ada);
  const bob = await set.client(users.bob);
  return { ...set, ada, bob, users, place, id: idOf(place) };
}

const sends = (heard: readonly ClientFrame[]) => heard.filter((frame) => frame.t === "send");
const open = (client: Client, id: ReturnType<typeof idOf>) =>
  client.chat.dispatch({ on: "open", id, around: null });

describe("sending", () => {
  it("shows the message at once, then stored, and to the other person", async () => {
    const { ada, bob, id, clock } = await pair();
    open(ada, id);
    open(bob, id);
    await clock.advance(0);
    ada.chat.send(id, "hello");
    expect(ada.model().outbox.length + (ada.model().conversations.get(id)?.window?.items.length ?? 0)).toBe(
      1,
    );
    await clock.advance(0);
    expect(seenTexts(ada.model(), id)).toEqual(["hello"]);
    expect(seenTexts(bob.model(), id)).toEqual(["hello"]);
    expect(ada.model().outbox).toEqual([]);
  });

  it("keeps its echo visible while the line is down and sends it once when it is back", async () => {
    const { ada, id, clock, server, place } = await pair();
    open(ada, id);
    await clock.advance(0);
    server.down = true;
    server.cut(ada.browser);
    ada.chat.send(id, "from the tunnel");
    await clock.advance(MINUTE);
    expect(seenTexts(ada.model(), id)).toEqual(["(from the tunnel)"]);
    expect(ada.model().live).toBe(false);
    server.down = false;
    await clock.advance(MINUTE);
    expect(seenTexts(ada.model(), id)).toEqual(["from the tunnel"]);
    expect(server.messages(place).map(({ body }) => body)).toEqual(["from the tunnel"]);
  });

  it("asks again with the same id, marked as a repetition, when the line broke before the acknowledgement", async () => {
    const { ada, id, clock, server, place } = await pair();
    open(ada, id);
    await clock.advance(0);
    server.swallowAcks = true;
    server.swallowEvents = true;
    ada.chat.send(id, "once only");
    server.cut(ada.browser);
    server.swallowAcks = false;
    server.swallowEvents = false;
    await clock.advance(MINUTE);
    expect(seenTexts(ada.model(), id)).toEqual(["once only"]);
    expect(server.messages(place)).toHaveLength(1);
    const tried = sends(server.heard);
    expect(new Set(tried.map((frame) => frame.id)).size).toBe(1);
    for (const again of tried.slice(1)) expect(again.retry).toBe(true);
  });

  it("asks again on a live line when the acknowledgement is late", async () => {
    const { ada, id, clock, server, place } = await pair();
    server.swallowAcks = true;
    server.swallowEvents = true;
    ada.chat.send(id, "slow");
    await clock.advance(100);
    server.swallowAcks = false;
    await clock.advance(20_000);
    expect(ada.model().outbox.filter((entry) => entry.state !== "stored")).toEqual([]);
    expect(server.messages(place)).toHaveLength(1);
  });

  it("says that the server is slow, asks whether the line is still there, and is calm again once it answers", async () => {
    const { ada, id, clock, server } = await pair();
    server.swallowAcks = true;
    server.swallowEvents = true;
    ada.chat.send(id, "slow");
    await clock.advance(ACK_SLOW_MS - 1);
    expect(isServerSlow(ada.model())).toBe(false);
    const pings = () => server.heard.filter((frame) => frame.t === "ping").length;
    const before = pings();
    await clock.advance(1);
    expect(isServerSlow(ada.model())).toBe(true);
    expect(pings()).toBe(before + 1);
    server.swallowAcks = false;
    await clock.advance(20_000);
    expect(isServerSlow(ada.model())).toBe(false);
  });

  it("stores what one person types in the order of typing, also across a refusal", async () => {
    const { ada, id, clock, server, place } = await pair();
    server.refusals.push(
      { code: "busy", retry_after_ms: 500 },
      { code: "rate_limited", retry_after_ms: 700 },
    );
    for (const text of ["one", "two", "three", "four"]) ada.chat.send(id, text);
    await clock.advance(10_000);
    expect(server.messages(place).map(({ body }) => body)).toEqual(["one", "two", "three", "four"]);
    expect(ada.model().outbox).toEqual([]);
  });

  it("keeps a refused message with its reason until the person retries or discards it", async () => {
    const { ada, id, clock, server, place } = await pair();
    server.refusals.push({ code: "forbidden" }, { code: "invalid" });
    ada.chat.send(id, "first");
    ada.chat.send(id, "second");
    ada.chat.send(id, "third");
    await clock.advance(MINUTE);
    expect(server.messages(place).map(({ body }) => body)).toEqual(["third"]);
    const [first, second] = ada.model().outbox;
    expect(ada.model().outbox.map(({ body, state, problem }) => [body, state, problem])).toEqual([
      ["first", "failed", "forbidden"],
      ["second", "failed", "invalid"],
    ]);
    if (first === undefined || second === undefined) throw new Error("nothing failed");
    ada.chat.retry(first.id);
    ada.chat.dispatch({ on: "discard", id: second.id });
    await clock.advance(MINUTE);
    expect(server.messages(place).map(({ body }) => body)).toEqual(["third", "first"]);
    expect(ada.model().outbox).toEqual([]);
  });

  it("survives a reload: the vault's entries are sent by the next run, once", async () => {
    const { ada, id, clock, server, place, users, client } = await pair();
    server.down = true;
    server.cut(ada.browser);
    ada.chat.send(id, "kept");
    ada.chat.drafts.set(id, "half a thou");
    await ada.chat.stop(false);
    server.down = false;
    const again = await client(users.ada, ada.vault);
    await clock.advance(MINUTE);
    expect(server.messages(place).map(({ body }) => body)).toEqual(["kept"]);
    expect(again.chat.drafts.get(id)).toBe("half a thou");
    expect((await ada.vault.load()).outbox).toEqual([]);
  });

  it("forgets what is kept on the device at log-out", async () => {
    const { ada, id, server } = await pair();
    server.down = true;
    server.cut(ada.browser);
    ada.chat.send(id, "secret");
    ada.chat.drafts.set(id, "secret too");
    await ada.chat.stop(true);
    expect(await ada.vault.load()).toEqual({ outbox: [], drafts: new Map() });
  });
});

describe("receiving", () => {
  it("counts unread exactly, live and after a reload, and clears the count by reading", async () => {
    const { ada, bob, id, clock, users, client } = await pair(3);
    expect(ada.model().conversations.get(id)?.summary.unread).toBe(3);
    bob.chat.send(id, "new");
    await clock.advance(0);
    expect(ada.model().conversations.get(id)?.summary.unread).toBe(4);
    ada.chat.dispatch({ on: "seen", id, upTo: 4 });
    await clock.advance(0);
    expect(ada.model().conversations.get(id)?.summary.unread).toBe(0);
    const again = await client(users.ada);
    expect(again.model().conversations.get(id)?.summary.unread).toBe(0);
  });

  it("repeats a mark that may have been lost with the line", async () => {
    const { ada, id, clock, server, place, users } = await pair(2);
    server.down = true;
    server.cut(ada.browser);
    ada.chat.dispatch({ on: "seen", id, upTo: 2 });
    server.down = false;
    await clock.advance(MINUTE);
    expect(server.place(place).marks.get(users.ada.id)).toBe(2);
    expect(ada.model().marks.size).toBe(0);
    expect(ada.model().conversations.get(id)?.summary.unread).toBe(0);
  });

  it("learns from another device of the same person what is read, exactly", async () => {
    const { ada, id, clock, users, client } = await pair(5);
    open(ada, id);
    await clock.advance(0);
    const phone = await client(users.ada);
    phone.chat.dispatch({ on: "seen", id, upTo: 3 });
    await clock.advance(0);
    expect(ada.model().conversations.get(id)?.summary).toMatchObject({ read_no: 3, unread: 2 });
  });

  it("fills a gap before it shows what came after it", async () => {
    const { ada, bob, id, clock, server } = await pair();
    open(ada, id);
    await clock.advance(0);
    server.holdBack(ada.browser);
    for (const text of ["one", "two", "three"]) bob.chat.send(id, text);
    await clock.advance(0);
    server.release(ada.browser, (frames) =>
      frames.filter((frame) => frame.t !== "event" || frame.message_no === 3),
    );
    expect(seenTexts(ada.model(), id)).toEqual([]);
    await clock.advance(0);
    expect(seenTexts(ada.model(), id)).toEqual(["one", "two", "three"]);
    expect(ada.model().conversations.get(id)?.summary.unread).toBe(3);
    expect(server.asked.filter((path) => path.includes("/events"))).toHaveLength(1);
  });

  it("goes on asking when the gap cannot be read at first", async () => {
    const { ada, bob, id, clock, server } = await pair();
    open(ada, id);
    await clock.advance(0);
    server.holdBack(ada.browser);
    for (const text of ["one", "two"]) bob.chat.send(id, text);
    await clock.advance(0);
    server.down = true;
    server.release(ada.browser, (frames) =>
      frames.filter((frame) => frame.t !== "event" || frame.message_no === 2),
    );
    await clock.advance(3_000);
    expect(seenTexts(ada.model(), id)).toEqual([]);
    server.down = false;
    await clock.advance(MINUTE);
    expect(seenTexts(ada.model(), id)).toEqual(["one", "two"]);
  });

  it("never switches the open conversation and never touches a draft", async () => {
    const set = await pair();
    const { ada, users, clock, server } = set;
    const other = server.addPlace({ kind: "group", by: users.bob, members: [users.ada], title: "Other" });
    await clock.advance(0);
    open(ada, set.id);
    ada.chat.drafts.set(set.id, "unfinished");
    await clock.advance(0);
    server.say(other, users.bob, "over here!");
    server.say(set.place, users.bob, "and here");
    await clock.advance(MINUTE);
    expect(ada.model().opened).toBe(set.id);
    expect(ada.chat.drafts.get(set.id)).toBe("unfinished");
    expect(ada.model().conversations.get(idOf(other))?.summary.unread).toBe(1);
  });

  it("shows who types, and stops believing it after a while", async () => {
    const { ada, users, id, clock, server, place } = await pair();
    server.typing(place, users.bob, true);
    await clock.advance(0);
    expect([...(ada.model().conversations.get(id)?.typing.keys() ?? [])]).toEqual([users.bob.id]);
    await clock.advance(10_000);
    expect(ada.model().conversations.get(id)?.typing.size).toBe(0);
  });

  it("takes a new conversation from `added` and drops one from `removed`", async () => {
    const { ada, users, clock, server } = await pair();
    const room = server.addPlace({ kind: "group", by: users.bob, members: [users.ada], title: "New" });
    server.say(room, users.bob, "welcome");
    await clock.advance(0);
    expect(ada.model().conversations.get(idOf(room))?.summary).toMatchObject({ title: "New", unread: 1 });
    server.removeMember(room, users.ada);
    await clock.advance(0);
    expect(ada.model().conversations.has(idOf(room))).toBe(false);
    expect(ada.model().missing.get(idOf(room))).toBe("removed");
  });

  it("notices after a reconnect that it was removed meanwhile", async () => {
    const { ada, users, clock, server } = await pair();
    const room = server.addPlace({ kind: "group", by: users.bob, members: [users.ada], title: "Gone soon" });
    await clock.advance(0);
    server.down = true;
    server.cut(ada.browser);
    server.removeMember(room, users.ada);
    server.down = false;
    await clock.advance(MINUTE);
    expect(ada.model().conversations.has(idOf(room))).toBe(false);
  });
});

describe("coming back", () => {
  it("catches up from its cursors without reading history again", async () => {
    const { ada, users, id, clock, server, place } = await pair();
    open(ada, id);
    await clock.advance(0);
    server.cut(ada.browser);
    for (const text of ["missed 1", "missed 2"]) server.say(place, users.bob, text);
    const asked = server.asked.length;
    await clock.advance(MINUTE);
    expect(seenTexts(ada.model(), id)).toEqual(["missed 1", "missed 2"]);
    expect(ada.model().conversations.get(id)?.summary.unread).toBe(2);
    expect(
      server.asked.slice(asked).filter((path) => path.includes("/messages") || path.includes("/events")),
    ).toEqual([]);
  });

  it.each([true, false])("reads as history what an outline leaves out (on the screen: %s)", async (shown) => {
    const { ada, users, id, clock, server, place } = await pair(2);
    open(ada, id);
    await clock.advance(0);
    if (!shown) ada.chat.dispatch({ on: "close" });
    server.outlines = true;
    const heard = server.heard.length;
    server.say(place, users.bob, "left out");
    await clock.advance(0);
    expect(ada.model().conversations.get(id)?.summary.unread).toBe(3);
    expect(ada.model().conversations.get(id)?.summary.last_message?.body).not.toBeNull();
    expect(server.heard.slice(heard).some((frame) => frame.t === "open")).toBe(shown);
    open(ada, id);
    await clock.advance(0);
    expect(seenTexts(ada.model(), id)).toEqual(["old 1", "old 2", "left out"]);
  });

  it.each([true, false])("reads one page for many outlines (in one flush: %s)", async (together) => {
    const { ada, users, id, clock, server, place } = await pair(2);
    open(ada, id);
    await clock.advance(0);
    server.outlines = true;
    server.holdBack(ada.browser);
    for (let no = 3; no <= 40; no += 1) server.say(place, users.bob, `old ${no}`);
    const [heard, asked] = [server.heard.length, server.asked.length];
    const flush: ServerFrame[] = [];
    server.release(ada.browser, (frames) => {
      if (together) flush.push(...frames);
      return together ? [] : frames;
    });
    server.push(ada.browser, flush);
    await clock.advance(0);
    expect(seenTexts(ada.model(), id)).toEqual(Array.from({ length: 40 }, (_, index) => `old ${index + 1}`));
    expect(server.heard.slice(heard).filter((frame) => frame.t === "open")).toHaveLength(1);
    expect(server.asked.slice(asked).filter((path) => path.includes("/messages"))).toHaveLength(1);
    expect(ada.model().conversations.get(id)?.summary.unread).toBe(40);
  });

  it.each([0, 2])("reads on behind a page that is older than an outline (page of %s)", async (before) => {
    const { ada, users, id, clock, server, place } = await pair(before);
    server.holdPages = true;
    open(ada, id);
    await clock.advance(0);
    server.holdPages = false;
    server.outlines = true;
    server.say(place, users.bob, "left out");
    server.outlines = false;
    server.say(place, users.bob, "in full");
    await clock.advance(0);
    server.releasePages();
    await clock.advance(0);
    const old = Array.from({ length: before }, (_, index) => `old ${index + 1}`);
    expect(seenTexts(ada.model(), id)).toEqual([...old, "left out", "in full"]);
    server.say(place, users.bob, "live");
    await clock.advance(0);
    expect(seenTexts(ada.model(), id)).toEqual([...old, "left out", "in full", "live"]);
  });

  it("fetches event by event after a `resync` that is near", async () => {
    const { ada, users, id, clock, server, place } = await pair(2);
    server.catchUpMax = 5;
    open(ada, id);
    await clock.advance(0);
    server.cut(ada.browser);
    for (let no = 3; no <= 300; no += 1) server.say(place, users.bob, `old ${no}`);
    await clock.advance(MINUTE);
    const seen = seenTexts(ada.model(), id);
    expect(seen).toEqual(Array.from({ length: 300 }, (_, index) => `old ${index + 1}`));
    expect(ada.model().conversations.get(id)?.summary.unread).toBe(300);
  });

  it("starts its window anew after a `resync` that is far", async () => {
    const { ada, users, id, clock, server, place } = await pair(2);
    server.catchUpMax = 5;
    open(ada, id);
    await clock.advance(0);
    server.cut(ada.browser);
    for (let no = 3; no <= 2_400; no += 1) server.say(place, users.bob, `old ${no}`);
    await clock.advance(MINUTE);
    expect(seenTexts(ada.model(), id).at(-1)).toBe("old 2400");
    expect(seenTexts(ada.model(), id)).toHaveLength(50);
    expect(ada.model().conversations.get(id)?.summary.unread).toBe(2_400);
  });

  it("counts a closed conversation exactly after a `resync`", async () => {
    const { ada, users, id, clock, server, place } = await pair(2);
    server.catchUpMax = 5;
    server.cut(ada.browser);
    for (let no = 3; no <= 40; no += 1) server.say(place, users.bob, `old ${no}`);
    await clock.advance(MINUTE);
    server.say(place, users.bob, "live again");
    await clock.advance(MINUTE);
    expect(ada.model().conversations.get(id)?.summary.unread).toBe(41);
  });

  it("lets go of what a `reset` voids and takes what the log holds now", async () => {
    const { ada, users, id, clock, server, place } = await pair(4);
    open(ada, id);
    await clock.advance(0);
    expect(seenTexts(ada.model(), id)).toHaveLength(4);
    // The log loses its last two events (seq 4 and 5) and goes on differently.
    const { log } = server.place(place);
    log.splice(-2, 2);
    server.push(ada.browser, [{ t: "reset", conversation_id: place, from_seq: 4 }]);
    await clock.advance(0);
    expect(seenTexts(ada.model(), id)).toEqual(["old 1", "old 2"]);
    server.say(place, users.bob, "another 3");
    await clock.advance(MINUTE);
    expect(seenTexts(ada.model(), id)).toEqual(["old 1", "old 2", "another 3"]);
    expect(ada.model().conversations.get(id)?.summary).toMatchObject({ unread: 3, head_no: 3 });
  });

  it("is not live, and says why, until everything missed is here", async () => {
    const { ada, clock, server } = await pair();
    server.down = true;
    server.cut(ada.browser);
    await clock.advance(0);
    expect(ada.model().live).toBe(false);
    expect(ada.chat.connection.get()).toMatchObject({ at: "waiting", reason: "network_lost" });
    await clock.advance(5_000);
    expect(ada.chat.connection.get()).toMatchObject({ reason: "unreachable" });
    server.down = false;
    await clock.advance(MINUTE);
    expect(ada.model().live).toBe(true);
    expect(ada.chat.connection.get().at).toBe("live");
  });

  it("shows what it can read when the line has never opened, and goes on from there when it does", async () => {
    const { users, id, clock, server, place, client } = await pair(3);
    server.noSockets = true;
    const late = await client(users.ada);
    open(late, id);
    await clock.advance(10_000);
    expect(late.model().live).toBe(false);
    expect(seenTexts(late.model(), id)).toEqual(["old 1", "old 2", "old 3"]);
    server.say(place, users.bob, "meanwhile");
    server.noSockets = false;
    await clock.advance(MINUTE);
    expect(late.model().live).toBe(true);
    expect(seenTexts(late.model(), id)).toEqual(["old 1", "old 2", "old 3", "meanwhile"]);
    expect(late.model().conversations.get(id)?.summary.unread).toBe(4);
  });

  it("stays out after the session has ended elsewhere", async () => {
    const { ada, clock, server } = await pair();
    server.cut(ada.browser, 4401);
    const hellos = () => server.heard.filter((frame) => frame.t === "hello").length;
    const before = hellos();
    await clock.advance(10 * MINUTE);
    expect(ada.chat.connection.get()).toEqual({ at: "ended", reason: "session_ended" });
    expect(hellos()).toBe(before);
  });
});

describe("whose session it is", () => {
  it("is asked for when the line is refused: a session that is over ends the client", async () => {
    const { ada, clock, server } = await pair();
    ada.browser.user = null;
    server.cut(ada.browser);
    await clock.advance(MINUTE);
    expect(ada.chat.connection.get()).toEqual({ at: "ended", reason: "session_ended" });
  });

  it("never mixes two people: a welcome for somebody else ends the client", async () => {
    const { ada, users, clock, server, id } = await pair(2);
    ada.browser.user = users.bob;
    server.cut(ada.browser);
    await clock.advance(MINUTE);
    expect(ada.chat.connection.get().at).toBe("ended");
    expect(ada.model().me.id).toBe(users.ada.id);
    expect(ada.model().conversations.get(id)?.summary.unread).toBe(2);
  });
});

describe("history", () => {
  it("pages upwards to the very beginning without a hole or a double", async () => {
    const { ada, id, clock } = await pair(180);
    open(ada, id);
    await clock.advance(0);
    for (let turn = 0; turn < 5; turn += 1) {
      ada.chat.dispatch({ on: "load", id, side: "before" });
      ada.chat.dispatch({ on: "load", id, side: "before" });
      await clock.advance(0);
    }
    expect(seenTexts(ada.model(), id)).toEqual(Array.from({ length: 180 }, (_, index) => `old ${index + 1}`));
    expect(ada.model().conversations.get(id)?.window?.moreBefore).toBe(false);
  });

  it("opens around an old message and pages down to the present, live messages included", async () => {
    const { ada, users, id, clock, server, place } = await pair(200);
    ada.chat.dispatch({ on: "open", id, around: 60 });
    await clock.advance(0);
    expect(seenTexts(ada.model(), id)).toContain("old 60");
    expect(ada.model().conversations.get(id)?.window?.moreAfter).toBe(true);
    server.say(place, users.bob, "meanwhile");
    await clock.advance(0);
    expect(seenTexts(ada.model(), id)).not.toContain("meanwhile");
    for (let turn = 0; turn < 6; turn += 1) {
      ada.chat.dispatch({ on: "load", id, side: "after" });
      await clock.advance(0);
    }
    const seen = seenTexts(ada.model(), id);
    expect(seen.at(-1)).toBe("meanwhile");
    expect(seen.slice(-3)).toEqual(["old 199", "old 200", "meanwhile"]);
    expect(ada.model().conversations.get(id)?.window?.moreAfter).toBe(false);
  });

  it("says that a conversation is not there, and takes it when it is", async () => {
    const { ada, users, clock, server } = await pair();
    const room = server.addPlace({ kind: "room", by: users.bob, title: "Open house", visibility: "public" });
    const id = idOf(room);
    open(ada, id);
    await clock.advance(0);
    expect(ada.model().missing.get(id)).toBe("not_joined");
    const answer = await ada.chat.api.join(id, ada.chat.newKey());
    if (!answer.ok) throw new Error(answer.error.code);
    ada.chat.take(answer.value);
    await clock.advance(0);
    expect(ada.model().missing.has(id)).toBe(false);
    expect(ada.model().conversations.get(id)?.window?.ready).toBe(true);
  });
});
