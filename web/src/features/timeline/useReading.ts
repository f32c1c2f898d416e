import { useEffect, useState } from "react";
import { lastNo } from "../../model/window.ts";
import type { ConversationId } from "../../wire/ids.ts";
import { useChat, useModel } from "../chat.ts";

/** Whether this page is in front of someone. */
export function useVisible(): boolean {
  const [visible, setVisible] = useState(() => document.visibilityState === "visible");
  useEffect(() => {
    const update = () => setVisible(document.visibilityState === "visible");
    document.addEventListener("visibilitychange", update);
    return () => document.removeEventListener("visibilitychange", update);
  }, []);
  return visible;
}

/** Marks the conversation read while its end is in view of someone. */
export function useReading(id: ConversationId, atEnd: boolean): void {
  const chat = useChat();
  const visible = useVisible();
  const upTo = useModel((model) => {
    const window = model.conversations.get(id)?.window;
    return window?.ready === true && !window.moreAfter ? lastNo(window) : 0;
  });
  useEffect(() => {
    if (visible && atEnd && upTo > 0) chat.dispatch({ on: "seen", id, upTo });
  }, [chat, id, visible, atEnd, upTo]);
}

/**
 * Where the "new messages" mark stands: after what was read when the conversation was opened, and again after what was read when the page
 * was last left. It does not move while someone reads.
 */
export function useUnreadMark(id: ConversationId): number | null {
  const chat = useChat();
  const visible = useVisible();
  const read = () => {
    const summary = chat.get().conversations.get(id)?.summary;
    return summary === undefined ? null : Math.max(summary.read_no, summary.joined_no);
  };
  const [mark, setMark] = useState(() => {
    const unread = chat.get().conversations.get(id)?.summary.unread ?? 0;
    return unread > 0 ? read() : null;
  });
  // biome-ignore lint/correctness/useExhaustiveDependencies: only leaving the page sets the mark anew
  useEffect(() => {
    if (!visible) setMark(read());
  }, [visible]);
  return mark;
}
