/** The frames that the server's own tests pin down, byte for byte, are understood here. One set of files for both sides. */
import { readdirSync, readFileSync } from "node:fs";
import { resolve } from "node:path";
import { describe, expect, it } from "vitest";
import { decodeFrames } from "../src/wire/decode.ts";

const GOLDEN = resolve(import.meta.dirname, "../../crates/wire/tests/golden/client");

/** Frame types this client does not ask for yet: counted and ignored, like those of a later version. */
const NOT_USED = ["page"];

const files = readdirSync(GOLDEN).filter((file) => file.startsWith("server.") && file.endsWith(".json"));

describe("the golden frames of the server", () => {
  it("are here", () => {
    expect(files.length).toBeGreaterThan(30);
  });

  it.each(files)("%s is read", (file) => {
    const t = file.split(".")[1] ?? "";
    const decoded = decodeFrames(readFileSync(resolve(GOLDEN, file), "utf8"));
    expect(decoded.malformed).toBeNull();
    if (NOT_USED.includes(t)) expect(decoded).toMatchObject({ frames: [], unknown: 1 });
    else expect(decoded.frames.map((frame) => frame.t)).toEqual([t]);
  });

  it("keep every event kind apart that this client shows", () => {
    const kinds = files
      .filter((file) => file.startsWith("server.event."))
      .flatMap((file) => decodeFrames(readFileSync(resolve(GOLDEN, file), "utf8")).frames)
      .flatMap((frame) => (frame.t === "event" ? [frame.event.event.kind] : []));
    for (const kind of [
      "message_sent",
      "message_edited",
      "message_deleted",
      "member_added",
      "member_removed",
      "role_changed",
    ]) {
      expect(kinds).toContain(kind);
    }
  });
});
