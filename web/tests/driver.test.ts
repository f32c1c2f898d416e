import { describe, expect, it } from "vitest";
import { silentLogger } from "../src/lib/logger.ts";
import { createDriver, type Driver } from "../src/socket/driver.ts";
import type { Transport, TransportEvents } from "../src/socket/transport.ts";
import type { ServerFrame } from "../src/wire/types.ts";
import { FakeClock, seeded } from "./fake-clock.ts";

interface Dialled {
  readonly events: TransportEvents;
  readonly sent: unknown[];
  closedWith: number | null;
}

/** A driver whose lines are played by the test, one entry of `lines` per dial. */
function driven() {
  const clock = new FakeClock();
  const lines: Dialled[] = [];
  const frames: ServerFrame[] = [];
  const transport: Transport = (events) => {
    const line: Dialled = { events, sent: [], closedWith: null };
    lines.push(line);
    return {
      send: (payload) => line.sent.push(JSON.parse(payload)),
      close: (code) => {
        line.closedWith = code;
      },
    };
  };
  const driver = createDriver({
    transport,
    clock,
    random: seeded(5),
    logger: silentLogger,
    hello: () => ({ t: "hello" }),
    onFrames: (some) => frames.push(...some),
  });
  const line = (at: number): Dialled => {
    const found = lines[at];
    if (found === undefined) throw new Error(`line ${at} was not dialled`);
    return found;
  };
  return { clock, lines, line, frames, driver };
}

const WELCOME = JSON.stringify({
  t: "welcome",
  user: { id: "0198a7a0-0000-7000-8000-00000000000a", username: "ada", display_name: "Ada" },
  heartbeat_s: 20,
});

function greet(line: Dialled): void {
  line.events.opened();
  line.events.received(WELCOME);
  line.events.received('{"t":"live"}');
}

const at = (driver: Driver) => driver.connection.get().at;

describe("the driver", () => {
  it("says hello first and sends nothing else before it is live", () => {
    const { driver, line } = driven();
    driver.start();
    line(0).events.opened();
    expect(driver.send({ t: "ping", n: 9 })).toBe(false);
    expect(line(0).sent).toEqual([{ t: "hello" }]);
    line(0).events.received(WELCOME);
    line(0).events.received('{"t":"live"}');
    expect(driver.send({ t: "ping", n: 9 })).toBe(true);
    expect(line(0).sent).toEqual([{ t: "hello" }, { t: "ping", n: 9 }]);
  });

  it("pings a silent line, hears any frame as a sign of life, and dials anew without one", async () => {
    const { driver, line, lines, clock } = driven();
    driver.start();
    greet(line(0));
    await clock.advance(20_000);
    expect(line(0).sent.at(-1)).toEqual({ t: "ping", n: 1 });
    line(0).events.received('{"t":"pong","n":1}');
    await clock.advance(19_000);
    expect(at(driver)).toBe("live");
    // The next question goes out a heartbeat after the answer, and may wait eight seconds for its own.
    await clock.advance(9_100);
    expect(line(0).closedWith).toBe(4001);
    expect(driver.connection.get()).toMatchObject({ at: "waiting", reason: "silent" });
    await clock.advance(30_000);
    expect(lines.length).toBeGreaterThan(1);
  });

  it("hands on what it could read, then starts over, when a frame is malformed", async () => {
    const { driver, line, frames } = driven();
    driver.start();
    greet(line(0));
    line(0).events.received('[{"t":"pong","n":1},{"t":"pong"}]');
    expect(frames.at(-1)).toEqual({ t: "pong", n: 1 });
    expect(line(0).closedWith).toBe(4000);
    expect(driver.connection.get()).toMatchObject({ at: "waiting", reason: "protocol" });
  });

  it("ignores frame types it does not know", () => {
    const { driver, line, frames } = driven();
    driver.start();
    greet(line(0));
    const before = frames.length;
    line(0).events.received('{"t":"fireworks"}');
    expect(frames.length).toBe(before);
    expect(at(driver)).toBe("live");
  });

  it("hears nothing of a line it has left", async () => {
    const { driver, line, lines, frames, clock } = driven();
    driver.start();
    greet(line(0));
    driver.stop();
    const before = frames.length;
    line(0).events.received('{"t":"pong","n":1}');
    line(0).events.closed(1006);
    await clock.advance(60_000);
    expect(frames.length).toBe(before);
    expect(at(driver)).toBe("idle");
    expect(lines).toHaveLength(1);
    expect(clock.pending).toBe(0);
  });

  it("gives up on a server that opens but does not greet", async () => {
    const { driver, line, clock } = driven();
    driver.start();
    line(0).events.opened();
    await clock.advance(15_000);
    expect(line(0).closedWith).toBe(4001);
    expect(driver.connection.get()).toMatchObject({ at: "waiting", reason: "unreachable" });
  });
});
