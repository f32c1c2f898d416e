/** Time as an argument: every timer and timestamp of the client comes from here, so tests can own both. */
export interface Clock {
  /** Milliseconds since the Unix epoch. */
  now(): number;
  /** Runs `task` once after `ms`; the answer cancels it. */
  after(ms: number, task: () => void): () => void;
}

/** A number in [0, 1). */
export type Random = () => number;

export const browserClock: Clock = {
  now: () => Date.now(),
  after(ms, task) {
    const timer = setTimeout(task, ms);
    return () => clearTimeout(timer);
  },
};

/** Uniform in [0, 1), from the platform's generator; ids need more than a predictable stream. */
export const browserRandom: Random = () => {
  const word = crypto.getRandomValues(new Uint32Array(1))[0] ?? 0;
  return word / 2 ** 32;
};
