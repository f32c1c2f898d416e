import { useRef, useState } from "react";
import type { NewConversation } from "../../api/api.ts";
import type { CommandId, ConversationId } from "../../wire/ids.ts";
import { useChat } from "../chat.ts";

/** Creates a conversation once: the same request keeps its key until it succeeds, so pressing twice makes one room. */
export function useCreate(onCreated: (id: ConversationId) => void) {
  const chat = useChat();
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState<string | null>(null);
  const attempt = useRef<{ readonly wanted: string; readonly key: CommandId } | null>(null);

  async function create(wanted: NewConversation): Promise<void> {
    if (busy) return;
    const text = JSON.stringify(wanted);
    if (attempt.current?.wanted !== text) attempt.current = { wanted: text, key: chat.newKey() };
    setBusy(true);
    setProblem(null);
    const answer = await chat.api.create(wanted, attempt.current.key);
    setBusy(false);
    if (!answer.ok) {
      setProblem(answer.error.code);
      return;
    }
    attempt.current = null;
    chat.take(answer.value);
    onCreated(answer.value.id);
  }

  return { busy, problem, create };
}
