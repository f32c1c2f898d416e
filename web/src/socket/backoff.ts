import type { Random } from "../lib/clock.ts";

/** The shortest and the longest pause between two attempts, in milliseconds (PROTOCOL.md, rule 7). */
export const BACKOFF_MIN_MS = 500;
export const BACKOFF_MAX_MS = 30_000;

/** How far the range has doubled before it stops mattering. */
const DOUBLINGS_MAX = 6;

/** Full jitter: anywhere in a range that doubles with each attempt, so that ten thousand tabs do not return in step. */
export function backoffMs(attempt: number, random: Random): number {
  const ceiling = Math.min(BACKOFF_MAX_MS, BACKOFF_MIN_MS * 2 ** (Math.min(attempt, DOUBLINGS_MAX) + 1));
  return Math.round(BACKOFF_MIN_MS + random() * (ceiling - BACKOFF_MIN_MS));
}
