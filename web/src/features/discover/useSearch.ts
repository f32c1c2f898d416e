import { useEffect, useState } from "react";
import type { Answer } from "../../api/http.ts";
import type { Clock } from "../../lib/clock.ts";
import type { Page } from "../../wire/types.ts";

/** Typing rests this long before the question is asked. */
const REST_MS = 220;

export interface Found<T> {
  /** Null while nothing has been asked. */
  readonly items: readonly T[] | null;
  readonly busy: boolean;
  readonly problem: string | null;
  readonly next: string | null;
}

const NOTHING = { items: null, busy: false, problem: null, next: null } as const;

/** Asks when typing rests; an answer that is overtaken by a newer question is dropped. `ask` null means: nothing to ask yet. */
export function useSearch<T>(
  clock: Clock,
  query: string,
  ask: ((query: string) => Promise<Answer<Page<T>>>) | null,
): Found<T> {
  const [found, setFound] = useState<Found<T>>(NOTHING);
  useEffect(() => {
    if (ask === null) {
      setFound(NOTHING);
      return;
    }
    let stale = false;
    setFound((before) => ({ ...before, busy: true }));
    const cancel = clock.after(REST_MS, () => {
      void ask(query).then((answer) => {
        if (stale) return;
        setFound(
          answer.ok
            ? { items: answer.value.items, busy: false, problem: null, next: answer.value.next_cursor }
            : { items: [], busy: false, problem: answer.error.code, next: null },
        );
      });
    });
    return () => {
      stale = true;
      cancel();
    };
  }, [clock, query, ask]);
  return found;
}
