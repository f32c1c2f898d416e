/** Holds the model, lets inputs change it, tells its readers, and hands effects to whoever runs them. */
import type { Clock } from "../lib/clock.ts";
import { Observable } from "../lib/observable.ts";
import type { ConversationId } from "../wire/ids.ts";
import { reduce } from "./reduce.ts";
import type { Effect, Input, Model } from "./state.ts";

/** Cursors in one hello: each takes some 70 bytes of the 64 KiB a frame may have. The others start live and heal their gap. */
export const CURSORS_MAX = 500;

export interface Store {
  get(): Model;
  subscribe(listener: () => void): () => void;
  dispatch(input: Input): void;
}

export function createStore(initial: Model, clock: Clock, run: (effect: Effect) => void): Store {
  const model = new Observable(initial);
  const queue: Input[] = [];
  let busy = false;

  // Effects may dispatch at once (a fake server does); the queue keeps one input whole before the next begins.
  function dispatch(input: Input): void {
    queue.push(input);
    if (busy) return;
    busy = true;
    try {
      for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
        const [changed, effects] = reduce(model.get(), next, clock.now());
        model.set(changed);
        for (const effect of effects) run(effect);
      }
    } finally {
      busy = false;
    }
  }

  return { get: model.get, subscribe: model.subscribe, dispatch };
}

/** Where each conversation stands, the most recently active first, for the hello. */
export function cursors(model: Model): [ConversationId, number, number][] {
  return [...model.conversations.values()]
    .sort((a, b) => b.activity - a.activity)
    .slice(0, CURSORS_MAX)
    .map(({ summary, stream }) => [summary.id, stream.epoch, stream.seq]);
}
