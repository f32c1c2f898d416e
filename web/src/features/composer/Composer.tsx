/** Where a message is written. The draft lives per conversation outside React; nothing that arrives can reach it. */
import {
  type KeyboardEvent,
  useEffect,
  useLayoutEffect,
  useRef,
  useState,
  useSyncExternalStore,
} from "react";
import { strings } from "../../lib/strings.ts";
import { byteLength } from "../../lib/text.ts";
import { OUTBOX_MAX } from "../../model/outbox.ts";
import { IconButton } from "../../ui/Button.tsx";
import type { ConversationId } from "../../wire/ids.ts";
import { useChat, useModel } from "../chat.ts";
import { useTypingSignal } from "./typing.ts";

const say = strings.composer;

export interface ComposerProps {
  readonly id: ConversationId;
  readonly title: string;
  readonly onSent: () => void;
}

export function Composer({ id, title, onSent }: ComposerProps) {
  const chat = useChat();
  const draft = useSyncExternalStore(chat.drafts.subscribe, () => chat.drafts.get(id));
  const limit = useModel((model) => model.limits.message_body_bytes);
  const outboxFull = useModel((model) => model.outbox.length >= OUTBOX_MAX);
  const [refused, setRefused] = useState(false);
  const box = useRef<HTMLTextAreaElement>(null);
  const typing = useTypingSignal(id);
  const over = byteLength(draft.trim()) - limit;
  const sendable = draft.trim() !== "" && over <= 0;

  // biome-ignore lint/correctness/useExhaustiveDependencies: the height follows the text
  useLayoutEffect(() => {
    const area = box.current;
    if (area === null) return;
    area.style.height = "auto";
    area.style.height = `${area.scrollHeight}px`;
  }, [draft]);

  // biome-ignore lint/correctness/useExhaustiveDependencies: a newly opened conversation is ready to be written in
  useEffect(() => {
    // On touch screens the keyboard would cover the messages someone came to read.
    if (window.matchMedia("(pointer: fine)").matches) box.current?.focus();
  }, [id]);

  function send(): void {
    const body = draft.trim();
    if (!sendable) return;
    if (!chat.send(id, body)) {
      setRefused(true);
      return;
    }
    setRefused(false);
    chat.drafts.set(id, "");
    typing.stop();
    onSent();
  }

  function onKeyDown(event: KeyboardEvent<HTMLTextAreaElement>): void {
    if (event.key !== "Enter" || event.shiftKey || event.nativeEvent.isComposing) return;
    event.preventDefault();
    send();
  }

  const problem = over > 0 ? say.tooLong(over) : refused || outboxFull ? say.full : "";
  return (
    <form
      className="composer"
      onSubmit={(event) => {
        event.preventDefault();
        send();
      }}
    >
      <p className="composer-problem" role="alert">
        {problem}
      </p>
      <div className="composer-box">
        <textarea
          ref={box}
          rows={1}
          dir="auto"
          value={draft}
          aria-label={say.label(title)}
          placeholder={say.placeholder}
          onChange={(event) => {
            chat.drafts.set(id, event.target.value);
            typing.touch(event.target.value);
          }}
          onBlur={typing.stop}
          onKeyDown={onKeyDown}
        />
        <IconButton type="submit" icon="send" tone="accent" label={say.send} disabled={!sendable} />
      </div>
      <p className="composer-hint" aria-hidden="true">
        {say.hint}
      </p>
    </form>
  );
}
