/**
 * Runs the machine's effects: dials, timers, pings, the hello; hands decoded frames on.
 *
 * Never: a decision. What to do when is in `connection.ts`; what a frame means is in the model.
 */
import type { Clock, Random } from "../lib/clock.ts";
import type { Logger } from "../lib/logger.ts";
import { Observable, type Readable } from "../lib/observable.ts";
import { decodeFrames } from "../wire/decode.ts";
import type { ClientFrame, ServerFrame } from "../wire/types.ts";
import {
  type Connection,
  type Effect,
  type Input,
  initialConnection,
  step,
  type TimerName,
} from "./connection.ts";
import type { Line, Transport } from "./transport.ts";

export interface DriverParts {
  readonly transport: Transport;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  /** Asked at every dial, so that the cursors are those of this moment. */
  readonly hello: () => ClientFrame;
  /** All frames of one socket message at once: one message is one change of the screen. */
  readonly onFrames: (frames: readonly ServerFrame[]) => void;
}

export interface Driver {
  readonly connection: Readable<Connection>;
  start(): void;
  stop(): void;
  /** Sends when live; false means "not now", and the caller keeps what it has. */
  send(frame: ClientFrame): boolean;
  retryNow(): void;
  /** The session is known to be over: no more attempts. */
  end(): void;
  /** A hint from the browser: it says the network came or went. */
  networkHint(up: boolean): void;
  /** A hint that time may have stood still (the tab was hidden, the machine slept): ask the line whether it is there. */
  probe(): void;
}

export function createDriver(parts: DriverParts): Driver {
  const { transport, clock, random, logger } = parts;
  const connection = new Observable<Connection>(initialConnection);
  const timers = new Map<TimerName, () => void>();
  let line: Line | null = null;
  let drainedAt: number | null = null;
  const tasks: (() => void)[] = [];
  let busy = false;
  let pings = 0;

  function hangUp(code: number): void {
    line?.close(code);
    line = null;
  }

  function dial(): void {
    hangUp(1000);
    drainedAt = null;
    const mine: Line = transport({
      opened: () => line === mine && input({ on: "opened" }),
      received: (payload) => inTurn(() => line === mine && receive(payload)),
      closed: (code) => {
        if (line !== mine) return;
        line = null;
        logger.note("socket closed", { code });
        input({
          on: "closed",
          code,
          since_drain_ms: drainedAt === null ? 0 : Math.max(0, clock.now() - drainedAt),
        });
      },
    });
    line = mine;
  }

  function receive(payload: string): void {
    advance({ on: "heard" });
    const { frames, unknown, malformed } = decodeFrames(payload);
    if (unknown > 0) logger.note("unknown frames", { count: unknown });
    for (const frame of frames) {
      // The machine first: when the model hears "live" it flushes its outbox, and sending must be possible by then.
      if (frame.t === "welcome") advance({ on: "welcome", heartbeat_s: frame.heartbeat_s });
      if (frame.t === "live") advance({ on: "live" });
      if (frame.t === "drain") drainedAt = clock.now();
      if (frame.t === "drain") advance({ on: "drain", reconnect_after_ms: frame.reconnect_after_ms });
    }
    if (frames.length > 0) parts.onFrames(frames);
    if (malformed !== null) {
      logger.note("malformed frame", { at: malformed });
      advance({ on: "malformed" });
    }
  }

  function put(frame: ClientFrame): void {
    line?.send(JSON.stringify(frame));
  }

  function run(effect: Effect): void {
    switch (effect.do) {
      case "dial":
        return dial();
      case "hello":
        return put(parts.hello());
      case "ping":
        pings += 1;
        return put({ t: "ping", n: pings });
      case "hang_up":
        return hangUp(effect.code);
      case "timer":
        timers.get(effect.name)?.();
        timers.set(
          effect.name,
          clock.after(effect.ms, () => {
            timers.delete(effect.name);
            input({ on: "timer", name: effect.name });
          }),
        );
        return;
      case "cancel":
        timers.get(effect.name)?.();
        timers.delete(effect.name);
        return;
    }
  }

  // An effect may cause an input at once (a line that answers immediately); it waits until the effects before it are done.
  function inTurn(task: () => void): void {
    tasks.push(task);
    if (busy) return;
    busy = true;
    try {
      for (let next = tasks.shift(); next !== undefined; next = tasks.shift()) next();
    } finally {
      busy = false;
    }
  }

  function input(event: Input): void {
    inTurn(() => advance(event));
  }

  function advance(event: Input): void {
    const [next, effects] = step(connection.get(), event, random);
    if (next.at !== connection.get().at) logger.note("connection", { at: next.at });
    connection.set(next);
    for (const effect of effects) run(effect);
  }

  return {
    connection,
    start: () => input({ on: "start" }),
    stop: () => input({ on: "stop" }),
    send: (frame) => {
      if (connection.get().at !== "live") return false;
      put(frame);
      return true;
    },
    retryNow: () => input({ on: "retry_now" }),
    end: () => input({ on: "session_over" }),
    networkHint: (up) => input({ on: "network", up }),
    probe: () => input({ on: "probe" }),
  };
}
