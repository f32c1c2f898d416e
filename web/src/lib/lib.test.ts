import { describe, expect, it } from "vitest";
import { uuidv7 } from "./ids.ts";
import { parseRoute, routePath } from "./route.ts";
import { byteLength, isEmojiOnly, parseText } from "./text.ts";

describe("ids", () => {
  it("are version 7, of RFC 9562's variant, and sort by time", () => {
    const early = uuidv7(1_700_000_000_000, () => 0.999);
    const late = uuidv7(1_700_000_000_001, () => 0);
    expect(early).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
    expect(early < late).toBe(true);
    expect(Number.parseInt(early.replaceAll("-", "").slice(0, 12), 16)).toBe(1_700_000_000_000);
  });
});

describe("addresses", () => {
  const id = "0198a7a0-0000-7000-8000-00000000000a";

  it.each(["/", "/login", "/register", "/rooms", `/c/${id}`, `/c/${id}/42`])(
    "%s is understood and written back",
    (path) => {
      expect(routePath(parseRoute(path))).toBe(path);
      expect(parseRoute(path).at).not.toBe("unknown");
    },
  );

  it.each(["/c/42", `/c/${id}/0`, `/c/${id}/x`, `/c/${id}/1/2`, "/settings"])("%s is unknown", (path) => {
    expect(parseRoute(path)).toEqual({ at: "unknown" });
  });
});

describe("message text", () => {
  it("falls into paragraphs and lines", () => {
    const paragraphs = parseText("one\ntwo\r\n\r\nthree\n");
    expect(paragraphs).toEqual([
      [[{ is: "text", text: "one" }], [{ is: "text", text: "two" }]],
      [[{ is: "text", text: "three" }]],
    ]);
  });

  it("links http addresses and leaves the sentence around them alone", () => {
    const [[line] = []] = parseText("See (https://example.org/a_(b)), or http://example.com.");
    expect(line?.filter((part) => part.is === "link").map((part) => part.text)).toEqual([
      "https://example.org/a_(b)",
      "http://example.com",
    ]);
    expect(line?.map((part) => part.text).join("")).toBe(
      "See (https://example.org/a_(b)), or http://example.com.",
    );
  });

  it.each([
    "javascript:alert(1)",
    "data:text/html,x",
    "https://",
    "ftp://example.org",
    '<a href="https://x">',
  ])("keeps every character of %s and makes no unsafe link of it", (body) => {
    const parts = parseText(body).flat(2);
    expect(parts.map((part) => part.text).join("")).toBe(body);
    for (const part of parts) if (part.is === "link") expect(part.href).toMatch(/^https?:\/\/[^/]/);
  });

  it("knows a message that is nothing but a few emoji", () => {
    expect(isEmojiOnly("🎉")).toBe(true);
    expect(isEmojiOnly("👩🏽‍🚀 👍")).toBe(true);
    expect(isEmojiOnly("1")).toBe(false);
    expect(isEmojiOnly("ok 👍")).toBe(false);
    expect(isEmojiOnly("👍👍👍👍")).toBe(false);
  });

  it("is measured in bytes", () => {
    expect(byteLength("aé👍")).toBe(7);
  });
});
