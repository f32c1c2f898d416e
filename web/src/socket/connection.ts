/**
 * The connection as a pure machine: (state, input) → (state, effects). `driver.ts` runs the effects.
 *
 * Never: timers, sockets, clocks or randomness; they come in as inputs and go out as effects.
 */
import type { Random } from "../lib/clock.ts";
import { BACKOFF_MAX_MS, BACKOFF_MIN_MS, backoffMs } from "./backoff.ts";
import { CLOSE, type Reason, reasonOfClose } from "./reason.ts";

/** From the dial to `live`; a server that takes longer is treated as lost. */
export const GREETING_MS = 15_000;
/** Live for this long, and the next loss starts with the shortest pause again. */
export const STABLE_MS = 10_000;
/** How long a pong may take before the line counts as dead. */
export const PONG_MS = 8_000;
/** A "the network is back" hint still waits up to this long: whole offices come back at once. */
const HINT_JITTER_MS = 500;

/** `drain_ms` is the server's hint since the dial: how long after its `drain` to come back. A full node gives it before the welcome. */
export type Connection =
  | { readonly at: "idle"; readonly reason: Reason }
  | { readonly at: "waiting"; readonly reason: Reason; readonly attempt: number; readonly delay_ms: number }
  | {
      readonly at: "connecting";
      readonly reason: Reason;
      readonly attempt: number;
      readonly drain_ms: number | null;
    }
  | {
      readonly at: "catching_up";
      readonly reason: Reason;
      readonly attempt: number;
      readonly heartbeat_ms: number;
      readonly drain_ms: number | null;
    }
  | {
      readonly at: "live";
      readonly attempt: number;
      readonly heartbeat_ms: number;
      readonly drain_ms: number | null;
    }
  | { readonly at: "ended"; readonly reason: Reason };

export type TimerName = "retry" | "greeting" | "stable" | "heartbeat" | "pong";

export type Input =
  | { readonly on: "start" }
  | { readonly on: "stop" }
  | { readonly on: "opened" }
  | { readonly on: "welcome"; readonly heartbeat_s: number }
  | { readonly on: "live" }
  | { readonly on: "drain"; readonly reconnect_after_ms: number }
  | { readonly on: "heard" }
  | { readonly on: "malformed" }
  | { readonly on: "closed"; readonly code: number; readonly since_drain_ms?: number }
  | { readonly on: "timer"; readonly name: TimerName }
  | { readonly on: "network"; readonly up: boolean }
  | { readonly on: "probe" }
  /** Learned by other means: the session is over, or another person's now. */
  | { readonly on: "session_over" }
  | { readonly on: "retry_now" };

export type Effect =
  | { readonly do: "dial" }
  | { readonly do: "hello" }
  | { readonly do: "ping" }
  | { readonly do: "hang_up"; readonly code: number }
  | { readonly do: "timer"; readonly name: TimerName; readonly ms: number }
  | { readonly do: "cancel"; readonly name: TimerName };

export type Step = readonly [Connection, readonly Effect[]];

export const initialConnection: Connection = { at: "idle", reason: "starting" };

const cancel = (...names: readonly TimerName[]): Effect[] => names.map((name) => ({ do: "cancel", name }));
const CANCEL_ALL = cancel("retry", "greeting", "stable", "heartbeat", "pong");

/** Whether a socket exists or is being opened. */
export function isDialled(
  state: Connection,
): state is Extract<Connection, { readonly drain_ms: number | null }> {
  return state.at === "connecting" || state.at === "catching_up" || state.at === "live";
}

function attemptOf(state: Connection): number {
  return state.at === "idle" || state.at === "ended" ? 0 : state.attempt;
}

function dial(state: Connection, reason: Reason): Step {
  return [
    { at: "connecting", reason, attempt: attemptOf(state), drain_ms: null },
    [...CANCEL_ALL, { do: "timer", name: "greeting", ms: GREETING_MS }, { do: "dial" }],
  ];
}

function waitFor(attempt: number, reason: Reason, delay: number, effects: readonly Effect[] = []): Step {
  return [
    { at: "waiting", reason, attempt, delay_ms: delay },
    [...CANCEL_ALL, ...effects, { do: "timer", name: "retry", ms: delay }],
  ];
}

/** The socket is gone: end, or choose the pause. A hint of the server wins over our own arithmetic. */
function lost(
  state: Connection,
  reason: Reason,
  random: Random,
  effects: readonly Effect[] = [],
  sinceDrain = 0,
): Step {
  if (reason === "session_ended") return [{ at: "ended", reason }, CANCEL_ALL];
  const attempt = attemptOf(state);
  const jittered = backoffMs(attempt, random);
  let delay = jittered;
  // The hint counts from its frame, and the node has chosen the moment to part: waiting longer would only keep messages back.
  // One that refuses is not hammered, whatever it hints.
  const least = state.at === "live" ? 0 : BACKOFF_MIN_MS;
  if (isDialled(state) && state.drain_ms !== null) delay = Math.max(least, state.drain_ms - sinceDrain);
  if (reason === "too_many_sockets" || reason === "policy")
    delay = Math.max(jittered, BACKOFF_MAX_MS / 2 + jittered / 2);
  return waitFor(attempt + 1, reason, delay, effects);
}

/** After any sign of life the next ping is a full heartbeat away. */
function alive(heartbeatMs: number): Effect[] {
  return [...cancel("pong"), { do: "timer", name: "heartbeat", ms: heartbeatMs }];
}

const PROBE: readonly Effect[] = [
  { do: "ping" },
  { do: "cancel", name: "heartbeat" },
  { do: "timer", name: "pong", ms: PONG_MS },
];

function onTimer(state: Connection, name: TimerName, random: Random): Step {
  switch (name) {
    case "retry":
      return state.at === "waiting" ? dial(state, state.reason) : [state, []];
    case "greeting":
      if (state.at !== "connecting" && state.at !== "catching_up") return [state, []];
      return lost(state, "unreachable", random, [{ do: "hang_up", code: CLOSE.silent }]);
    case "stable":
      return state.at === "live" ? [{ ...state, attempt: 0 }, []] : [state, []];
    case "heartbeat":
      return state.at === "live" ? [state, PROBE] : [state, []];
    case "pong":
      if (state.at !== "live") return [state, []];
      return lost(state, "silent", random, [{ do: "hang_up", code: CLOSE.silent }]);
  }
}

function onNetwork(state: Connection, up: boolean, random: Random): Step {
  if (!up) return state.at === "live" ? [state, PROBE] : [state, []];
  if (state.at === "waiting")
    return waitFor(state.attempt, state.reason, Math.round(random() * HINT_JITTER_MS));
  return state.at === "live" ? [state, PROBE] : [state, []];
}

export function step(state: Connection, input: Input, random: Random): Step {
  switch (input.on) {
    case "start":
      return isDialled(state) || state.at === "waiting" ? [state, []] : dial(state, "starting");
    case "stop":
      return [
        { at: "idle", reason: "left" },
        [...CANCEL_ALL, ...(isDialled(state) ? [{ do: "hang_up", code: CLOSE.normal } as const] : [])],
      ];
    case "opened":
      return state.at === "connecting" ? [state, [{ do: "hello" }]] : [state, []];
    case "welcome":
      if (state.at !== "connecting") return [state, []];
      return [{ ...state, at: "catching_up", heartbeat_ms: Math.max(1, input.heartbeat_s) * 1000 }, []];
    case "live":
      if (state.at !== "catching_up") return [state, []];
      return [
        {
          at: "live",
          attempt: state.attempt,
          heartbeat_ms: state.heartbeat_ms,
          drain_ms: state.drain_ms,
        },
        [...cancel("greeting"), { do: "timer", name: "stable", ms: STABLE_MS }, ...alive(state.heartbeat_ms)],
      ];
    case "drain":
      return isDialled(state) ? [{ ...state, drain_ms: input.reconnect_after_ms }, []] : [state, []];
    case "heard":
      return state.at === "live" ? [state, alive(state.heartbeat_ms)] : [state, []];
    case "malformed":
      if (!isDialled(state)) return [state, []];
      return lost(state, "protocol", random, [{ do: "hang_up", code: CLOSE.malformed }]);
    case "closed":
      if (!isDialled(state)) return [state, []];
      return lost(
        state,
        reasonOfClose(input.code, state.at !== "connecting"),
        random,
        [],
        input.since_drain_ms,
      );
    case "timer":
      return onTimer(state, input.name, random);
    case "network":
      return onNetwork(state, input.up, random);
    case "probe":
      return state.at === "live" ? [state, PROBE] : [state, []];
    case "session_over":
      return [
        { at: "ended", reason: "session_ended" },
        [...CANCEL_ALL, ...(isDialled(state) ? [{ do: "hang_up", code: CLOSE.normal } as const] : [])],
      ];
    case "retry_now":
      return state.at === "waiting" ? dial(state, state.reason) : [state, []];
  }
}
