import { useState } from "react";
import type { ConversationId } from "../../wire/ids.ts";
import { useChat } from "../chat.ts";

/** Joining twice is no error for the server, so a repeated press needs no care. */
export function useJoin(onJoined: (id: ConversationId) => void) {
  const chat = useChat();
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState<string | null>(null);

  async function join(id: ConversationId): Promise<void> {
    if (busy) return;
    setBusy(true);
    setProblem(null);
    const answer = await chat.api.join(id, chat.newKey());
    setBusy(false);
    if (!answer.ok) {
      setProblem(answer.error.code);
      return;
    }
    chat.take(answer.value);
    onJoined(id);
  }

  return { busy, problem, join };
}
