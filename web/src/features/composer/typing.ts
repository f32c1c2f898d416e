import { useEffect, useMemo } from "react";
import type { Clock } from "../../lib/clock.ts";
import type { ConversationId } from "../../wire/ids.ts";
import { useChat } from "../chat.ts";

/** Said again this often while keys are pressed; receivers forget after twice that. */
const REPEAT_MS = 3_000;
/** No key for this long and the person is thinking, not typing. */
const IDLE_MS = 5_000;

export interface TypingSignal {
  touch(text: string): void;
  stop(): void;
}

export function createTypingSignal(clock: Clock, say: (typing: boolean) => void): TypingSignal {
  let saidAt: number | null = null;
  let cancel: (() => void) | null = null;

  function stop(): void {
    cancel?.();
    cancel = null;
    if (saidAt === null) return;
    saidAt = null;
    say(false);
  }

  return {
    stop,
    touch(text) {
      if (text.trim() === "") return stop();
      cancel?.();
      cancel = clock.after(IDLE_MS, stop);
      if (saidAt !== null && clock.now() - saidAt < REPEAT_MS) return;
      saidAt = clock.now();
      say(true);
    },
  };
}

export function useTypingSignal(id: ConversationId): TypingSignal {
  const chat = useChat();
  const signal = useMemo(
    () => createTypingSignal(chat.clock, (typing) => chat.dispatch({ on: "typing", id, typing })),
    [chat, id],
  );
  useEffect(() => signal.stop, [signal]);
  return signal;
}
