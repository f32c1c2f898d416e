/** The open conversation's messages: loading, reading marks, and the way back to the latest. Arranges; the list draws. */
import { useCallback, useEffect, useMemo, useRef, useState } from "react";
import { problemText, strings } from "../../lib/strings.ts";
import { echoesOf } from "../../model/selectors.ts";
import { Button } from "../../ui/Button.tsx";
import { Icon } from "../../ui/icons.tsx";
import { Waiting } from "../../ui/Notice.tsx";
import type { ConversationId } from "../../wire/ids.ts";
import type { Message } from "../../wire/types.ts";
import { useChat, useModel } from "../chat.ts";
import { Announcer } from "./Announcer.tsx";
import { type ListHandle, MessageList } from "./MessageList.tsx";
import { buildRows } from "./rows.ts";
import { TypingLine } from "./TypingLine.tsx";
import { useReading, useUnreadMark } from "./useReading.ts";

const say = strings.timeline;
const NO_MESSAGES: readonly Message[] = [];

export interface TimelineProps {
  readonly id: ConversationId;
  readonly focusNo: number | null;
  /** Rises with each message sent from here: whoever sends wants to see it. */
  readonly sent: number;
}

export function Timeline({ id, focusNo, sent }: TimelineProps) {
  const chat = useChat();
  const window_ = useModel((model) => model.conversations.get(id)?.window ?? null);
  const loading = useModel((model) => model.conversations.get(id)?.loading);
  const problem = useModel((model) => model.conversations.get(id)?.loadProblem ?? null);
  const generation = useModel((model) => model.conversations.get(id)?.generation ?? 0);
  const named = useModel((model) => model.conversations.get(id)?.summary.kind !== "direct");
  const unread = useModel((model) => model.conversations.get(id)?.summary.unread ?? 0);
  const echoes = useModel((model) => echoesOf(model, id));
  const me = useModel((model) => model.me.id);
  const unreadAfter = useUnreadMark(id);
  const [atEnd, setAtEnd] = useState(false);
  const list = useRef<ListHandle>(null);
  const messages = window_?.items ?? NO_MESSAGES;
  // Before its first page is here a window ends nowhere: what the person writes meanwhile is shown.
  const moreAfter = window_?.ready === true && window_.moreAfter;
  useReading(id, atEnd);

  const rows = useMemo(
    () => buildRows({ messages, echoes: moreAfter ? [] : echoes, me, unreadAfter }),
    [messages, echoes, moreAfter, me, unreadAfter],
  );
  const before = useCallback(() => chat.dispatch({ on: "load", id, side: "before" }), [chat, id]);
  const after = useCallback(() => chat.dispatch({ on: "load", id, side: "after" }), [chat, id]);
  const toEnd = useCallback(() => {
    const held = chat.get().conversations.get(id)?.window;
    if (held?.ready === true && held.moreAfter) chat.dispatch({ on: "load", id, side: "newest" });
    else list.current?.toEnd();
  }, [chat, id]);

  useEffect(() => {
    if (sent > 0) toEnd();
  }, [sent, toEnd]);

  if (window_?.ready !== true && rows.length === 0) {
    return (
      <div className="timeline timeline-waiting">
        {problem === null ? (
          <Waiting label={strings.conversation.loading} />
        ) : (
          <Failed id={id} code={problem} />
        )}
      </div>
    );
  }
  return (
    <div className="timeline">
      {loading?.before === true ? (
        <p className="timeline-loading" role="status">
          {say.loadingOlder}
        </p>
      ) : null}
      <MessageList
        key={generation}
        ref={list}
        rows={rows}
        named={named}
        focusNo={focusNo}
        atStart={window_?.ready === true && !window_.moreBefore}
        onNearStart={before}
        onNearEnd={after}
        onAtEnd={setAtEnd}
      />
      {problem === null ? null : <Failed id={id} code={problem} />}
      {atEnd && !moreAfter ? null : (
        <button
          type="button"
          className="to-end"
          onClick={toEnd}
          aria-label={unread > 0 ? say.newBelow(unread) : say.toEnd}
        >
          {unread > 0 ? <span>{say.newBelow(unread)}</span> : null}
          <Icon name="down" size={18} />
        </button>
      )}
      <TypingLine id={id} />
      <Announcer id={id} />
    </div>
  );
}

function Failed({ id, code }: { readonly id: ConversationId; readonly code: string }) {
  const chat = useChat();
  return (
    <div className="timeline-failed" role="alert">
      <span>
        {say.failed} {problemText(code)}
      </span>
      <Button onClick={() => chat.dispatch({ on: "reload_history", id })}>{strings.tryAgain}</Button>
    </div>
  );
}
