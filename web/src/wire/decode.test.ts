import { describe, expect, it } from "vitest";
import { decodeBody, decodeFrames, message, summary } from "./decode.ts";

const A = "0198a7a0-0000-7000-8000-00000000000a";
const B = "0198a7a0-0000-7000-8000-00000000000b";
const EVENT = {
  t: "event",
  conversation_id: A,
  epoch: 1,
  seq: 2,
  at: "2026-11-20T12:00:00.000Z",
  by: B,
  kind: "message_sent",
  data: { body: "hello" },
  command_id: B,
  message_no: 1,
};
const decode = (value: unknown) => decodeFrames(JSON.stringify(value));

describe("decoding frames", () => {
  it("reads an object or an array of objects", () => {
    expect(decode({ t: "live" }).frames).toEqual([{ t: "live" }]);
    expect(decode([{ t: "live" }, { t: "pong", n: 1 }]).frames).toHaveLength(2);
  });

  it("brands ids, turns times to numbers and absent to null", () => {
    const [frame] = decode(EVENT).frames;
    expect(frame).toEqual({
      t: "event",
      event: {
        conversation_id: A,
        epoch: 1,
        seq: 2,
        at: Date.UTC(2026, 10, 20, 12),
        by: B,
        command_id: B,
        event: { kind: "message_sent", message_no: 1, body: "hello" },
      },
    });
  });

  it("counts and ignores what a later version may send", () => {
    expect(decode([{ t: "sparkle" }, { t: "live", extra: 1 }])).toEqual({
      frames: [{ t: "live" }],
      unknown: 1,
      malformed: null,
    });
    expect(decode({ ...EVENT, kind: "sparkled", data: { any: "thing" } }).frames).toMatchObject([
      { event: { seq: 2, event: { kind: "other", name: "sparkled" } } },
    ]);
  });

  it("is not misled by names every object has", () => {
    expect(decode({ t: "constructor" })).toMatchObject({ frames: [], unknown: 1, malformed: null });
    expect(decode({ ...EVENT, kind: "toString" }).frames).toMatchObject([
      { event: { event: { kind: "other" } } },
    ]);
  });

  it.each([
    ["text that is not JSON", "{"],
    ["no object", "7"],
    ["no type", "{}"],
    ["an id that is none", JSON.stringify({ ...EVENT, by: "bob" })],
    ["a seq beyond exact integers", JSON.stringify({ ...EVENT, seq: 2 ** 53 })],
    ["a time that is none", JSON.stringify({ ...EVENT, at: "soon" })],
    ["a message without its number", JSON.stringify({ ...EVENT, message_no: null })],
  ])("rejects %s", (_what, payload) => {
    expect(decodeFrames(payload)).toMatchObject({ frames: [], malformed: expect.any(String) });
  });

  it("keeps what came before the malformed frame and nothing after it", () => {
    const { frames, malformed } = decode([{ t: "live" }, { t: "pong" }, { t: "live" }]);
    expect(frames).toEqual([{ t: "live" }]);
    expect(malformed).toBe("n");
  });
});

describe("decoding REST answers", () => {
  it("shows no text of a deleted message, whatever was sent with it", () => {
    const { t: _t, kind: _kind, data: _data, ...rest } = EVENT;
    const read = decodeBody(message, { ...rest, body: "secret", deleted: true });
    expect(read).toMatchObject({ ok: true, value: { body: null } });
  });

  it("takes a room one is not in", () => {
    const room = {
      id: A,
      kind: "room",
      visibility: "public",
      my_role: null,
      member_count: 3,
      epoch: 1,
      head_seq: 4,
      head_no: 1,
      title: "Kitchen",
    };
    expect(decodeBody(summary, room)).toMatchObject({
      ok: true,
      value: { my_role: null, unread: 0, peer: null },
    });
    expect(decodeBody(summary, { ...room, kind: "castle" })).toEqual({ ok: false, malformed: "kind" });
  });
});
