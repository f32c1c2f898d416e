import { describe, expect, it } from "vitest";
import { BACKOFF_MAX_MS, BACKOFF_MIN_MS, backoffMs } from "./backoff.ts";
import { type Connection, type Effect, type Input, initialConnection, PONG_MS, step } from "./connection.ts";

const half = () => 0.5;

/** Runs inputs through the machine and answers where it ended and what it asked for, effect by effect. */
function play(...inputs: readonly Input[]): { readonly state: Connection; readonly last: readonly Effect[] } {
  let state = initialConnection;
  let last: readonly Effect[] = [];
  for (const input of inputs) [state, last] = step(state, input, half);
  return { state, last };
}

const START: Input = { on: "start" };
const OPENED: Input = { on: "opened" };
const WELCOME: Input = { on: "welcome", heartbeat_s: 20 };
const LIVE: Input = { on: "live" };
const TO_LIVE = [START, OPENED, WELCOME, LIVE] as const;
const closed = (code: number): Input => ({ on: "closed", code });
const actions = (effects: readonly Effect[]) => effects.filter((effect) => effect.do !== "cancel");

describe("the connection", () => {
  it("dials at start, greets when open, and is live when everything missed is here", () => {
    expect(actions(play(START).last)).toContainEqual({ do: "dial" });
    expect(play(START, OPENED).last).toEqual([{ do: "hello" }]);
    expect(play(START, OPENED, WELCOME).state.at).toBe("catching_up");
    expect(play(...TO_LIVE).state).toMatchObject({ at: "live", heartbeat_ms: 20_000 });
  });

  it("waits with a reason after a loss, longer each time, and dials when the pause is over", () => {
    const first = play(...TO_LIVE, closed(1006));
    expect(first.state).toMatchObject({ at: "waiting", reason: "network_lost", attempt: 1 });
    const again = play(...TO_LIVE, closed(1006), { on: "timer", name: "retry" }, closed(1006));
    expect(again.state).toMatchObject({ at: "waiting", reason: "unreachable", attempt: 2 });
    if (first.state.at !== "waiting" || again.state.at !== "waiting") throw new Error("not waiting");
    expect(again.state.delay_ms).toBeGreaterThan(first.state.delay_ms);
    expect(actions(play(...TO_LIVE, closed(1006), { on: "timer", name: "retry" }).last)).toContainEqual({
      do: "dial",
    });
  });

  it("forgets earlier losses only after a stable time", () => {
    const shaky = play(...TO_LIVE, closed(1006), { on: "timer", name: "retry" }, OPENED, WELCOME, LIVE);
    expect(shaky.state).toMatchObject({ at: "live", attempt: 1 });
    const [stable] = step(shaky.state, { on: "timer", name: "stable" }, half);
    expect(stable).toMatchObject({ at: "live", attempt: 0 });
  });

  it("does not return after the session has ended", () => {
    const ended = play(...TO_LIVE, closed(4401));
    expect(ended.state).toEqual({ at: "ended", reason: "session_ended" });
    expect(actions(ended.last)).toEqual([]);
    expect(step(ended.state, { on: "retry_now" }, half)[0].at).toBe("ended");
  });

  it("lets the server's own pause win", () => {
    const drained = play(...TO_LIVE, { on: "drain", reconnect_after_ms: 9_000 }, closed(1012));
    expect(drained.state).toMatchObject({ at: "waiting", reason: "server_restarting", delay_ms: 9_000 });
  });

  it("counts the server's pause from when it was told", () => {
    const parted = play(
      ...TO_LIVE,
      { on: "drain", reconnect_after_ms: 4_150 },
      { on: "closed", code: 1012, since_drain_ms: 4_100 },
    );
    expect(parted.state).toMatchObject({ at: "waiting", delay_ms: 50 });
    const late = play(
      ...TO_LIVE,
      { on: "drain", reconnect_after_ms: 150 },
      { on: "closed", code: 1012, since_drain_ms: 400 },
    );
    expect(late.state).toMatchObject({ at: "waiting", delay_ms: 0 });
  });

  it.each([
    ["before the welcome", [START, OPENED]],
    ["while catching up", [START, OPENED, WELCOME]],
  ] as const)("lets the server's own pause win when it is told %s", (_when, there) => {
    const drain: Input = { on: "drain", reconnect_after_ms: 9_000 };
    const parted: Input = { on: "closed", code: 1012, since_drain_ms: 1_000 };
    expect(play(...there, drain, parted).state).toMatchObject({ at: "waiting", delay_ms: 8_000 });
    const rest = TO_LIVE.slice(there.length);
    const welcomed = play(...there, drain, ...rest, parted);
    expect(welcomed.state).toMatchObject({ at: "waiting", delay_ms: 8_000 });
    const again = play(...there, drain, parted, { on: "timer", name: "retry" }, closed(1006));
    expect(again.state).toMatchObject({ at: "waiting", delay_ms: backoffMs(1, half) });
    const atOnce = play(...there, { on: "drain", reconnect_after_ms: 0 }, parted);
    expect(atOnce.state).toMatchObject({ at: "waiting", delay_ms: BACKOFF_MIN_MS });
  });

  it("takes a late hello for a lost line, not for the end of the session", () => {
    const { state } = play({ on: "start" }, { on: "opened" }, closed(4401));
    expect(state).toMatchObject({ at: "waiting", reason: "unreachable" });
  });

  it("backs off far when there are too many sockets", () => {
    const { state } = play(...TO_LIVE, closed(4429));
    if (state.at !== "waiting") throw new Error("not waiting");
    expect(state.delay_ms).toBeGreaterThanOrEqual(BACKOFF_MAX_MS / 2);
  });

  it("asks a silent line for a sign of life and hangs up without one", () => {
    const asked = play(...TO_LIVE, { on: "timer", name: "heartbeat" });
    expect(asked.last).toContainEqual({ do: "ping" });
    expect(asked.last).toContainEqual({ do: "timer", name: "pong", ms: PONG_MS });
    const dead = play(...TO_LIVE, { on: "timer", name: "heartbeat" }, { on: "timer", name: "pong" });
    expect(dead.state).toMatchObject({ at: "waiting", reason: "silent" });
    const heard = play(...TO_LIVE, { on: "timer", name: "heartbeat" }, { on: "heard" });
    expect(heard.last).toContainEqual({ do: "cancel", name: "pong" });
  });

  it("takes the network's return as a hint to hurry, and its loss as a question to the line", () => {
    const back = play(...TO_LIVE, closed(1006), { on: "network", up: true });
    expect(back.state).toMatchObject({ at: "waiting", delay_ms: 250 });
    const gone = play(...TO_LIVE, { on: "network", up: false });
    expect(gone.state.at).toBe("live");
    expect(gone.last).toContainEqual({ do: "ping" });
  });

  it("starts over when the server cannot be understood or does not greet", () => {
    expect(play(...TO_LIVE, { on: "malformed" }).state).toMatchObject({ at: "waiting", reason: "protocol" });
    expect(play(START, OPENED, { on: "timer", name: "greeting" }).state).toMatchObject({
      at: "waiting",
      reason: "unreachable",
    });
  });
});

describe("the pause between attempts", () => {
  it("is anywhere in a range that doubles up to its bound", () => {
    for (let attempt = 0; attempt < 20; attempt += 1) {
      const least = backoffMs(attempt, () => 0);
      const most = backoffMs(attempt, () => 0.999_999);
      expect(least).toBe(BACKOFF_MIN_MS);
      expect(most).toBeGreaterThan(least);
      expect(most).toBeLessThanOrEqual(BACKOFF_MAX_MS);
    }
    expect(backoffMs(20, () => 0.999_999)).toBe(BACKOFF_MAX_MS);
  });
});
