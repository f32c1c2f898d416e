import { useEffect, useRef, useState } from "react";
import { strings } from "../../lib/strings.ts";
import { nameOf } from "../../model/selectors.ts";
import type { ConversationId } from "../../wire/ids.ts";
import { useChat, useModel } from "../chat.ts";

/**
 * Reads new messages of the open conversation to screen readers. The list itself is silent: virtual rows come and go while scrolling and
 * would be read again each time.
 */
export function Announcer({ id }: { readonly id: ConversationId }) {
  const chat = useChat();
  const last = useModel((model) => model.conversations.get(id)?.summary.last_message ?? null);
  const announced = useRef(last?.message_no ?? 0);
  const [text, setText] = useState("");
  useEffect(() => {
    if (last === null || last.message_no <= announced.current) return;
    announced.current = last.message_no;
    const { me, people } = chat.get();
    if (last.by === me.id || last.body === null) return;
    setText(strings.timeline.said(nameOf(people, last.by), last.body));
  }, [chat, last]);
  return (
    <p className="hidden" aria-live="polite">
      {text}
    </p>
  );
}
