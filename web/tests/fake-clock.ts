import type { Clock, Random } from "../src/lib/clock.ts";

/** Time that moves only when told to. Tasks due at the same moment run in the order they were set. */
export class FakeClock implements Clock {
  private tasks: { at: number; order: number; task: () => void }[] = [];
  private order = 0;

  constructor(private time = Date.UTC(2026, 10, 20, 12, 0, 0)) {}

  now(): number {
    return this.time;
  }

  after(ms: number, task: () => void): () => void {
    this.order += 1;
    const entry = { at: this.time + ms, order: this.order, task };
    this.tasks.push(entry);
    return () => {
      this.tasks = this.tasks.filter((other) => other !== entry);
    };
  }

  /** Moves on, letting promises settle around each task that comes due. */
  async advance(ms: number): Promise<void> {
    const until = this.time + ms;
    await settle();
    for (;;) {
      const next = this.tasks
        .filter((entry) => entry.at <= until)
        .sort((a, b) => a.at - b.at || a.order - b.order)[0];
      if (next === undefined) break;
      this.tasks = this.tasks.filter((other) => other !== next);
      this.time = Math.max(this.time, next.at);
      next.task();
      await settle();
    }
    this.time = until;
    await settle();
  }

  get pending(): number {
    return this.tasks.length;
  }
}

/** Lets every promise that can settle do so. Fake answers need a handful of turns, never time. */
export async function settle(): Promise<void> {
  for (let turn = 0; turn < 60; turn += 1) await Promise.resolve();
}

/** A repeatable stream of numbers (mulberry32). The seed belongs in the failure message. */
export function seeded(seed: number): Random {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
