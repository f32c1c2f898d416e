/** One message, stored or on its way. */
import { memo, type ReactNode } from "react";
import { fullTime, timeOfDay } from "../../lib/format.ts";
import { problemText, strings } from "../../lib/strings.ts";
import type { Outgoing } from "../../model/outbox.ts";
import { Avatar } from "../../ui/Avatar.tsx";
import { Button } from "../../ui/Button.tsx";
import { Icon } from "../../ui/icons.tsx";
import type { UserId } from "../../wire/ids.ts";
import type { Message } from "../../wire/types.ts";
import { useChat } from "../chat.ts";
import { MessageText } from "./MessageText.tsx";

const say = strings.timeline;

interface FrameProps {
  readonly who: string;
  readonly by: UserId;
  readonly at: number;
  readonly mine: boolean;
  readonly first: boolean;
  readonly last: boolean;
  /** Names and pictures beside the bubbles: wanted where more than two speak. */
  readonly named: boolean;
  readonly focused?: boolean;
  readonly state?: string;
  readonly children: ReactNode;
  readonly foot: ReactNode;
}

function Frame(props: FrameProps) {
  const { who, by, at, mine, first, last, named, focused = false, state, children, foot } = props;
  return (
    <article
      className="message"
      aria-label={`${mine ? strings.you : who}, ${timeOfDay(at)}`}
      data-mine={mine || undefined}
      data-first={first || undefined}
      data-last={last || undefined}
      data-focused={focused || undefined}
      data-state={state}
    >
      {named && !mine ? (
        <span className="message-side">{last ? <Avatar id={by} name={who} size="small" /> : null}</span>
      ) : null}
      <div className="bubble">
        {named && !mine && first ? (
          <span className="bubble-name">
            <bdi>{who}</bdi>
          </span>
        ) : null}
        {children}
        <span className="bubble-foot">{foot}</span>
      </div>
    </article>
  );
}

export interface BubbleProps {
  readonly message: Message;
  readonly who: string;
  readonly mine: boolean;
  readonly first: boolean;
  readonly last: boolean;
  readonly named: boolean;
  readonly focused: boolean;
}

export const Bubble = memo(function Bubble({ message, ...rest }: BubbleProps) {
  return (
    <Frame
      {...rest}
      by={message.by}
      at={message.at}
      foot={
        <>
          {message.edited ? <span>{say.edited}</span> : null}
          <time dateTime={new Date(message.at).toISOString()} title={fullTime(message.at)}>
            {timeOfDay(message.at)}
          </time>
          {rest.mine ? <Mark icon="check" label={say.stored} /> : null}
        </>
      }
    >
      {message.body === null ? (
        <p className="text text-gone">{say.deleted}</p>
      ) : (
        <MessageText body={message.body} />
      )}
    </Frame>
  );
});

function Mark({ icon, label }: { readonly icon: "check" | "clock" | "alert"; readonly label: string }) {
  return (
    <span className="mark" title={label}>
      <Icon name={icon} size={14} />
      <span className="hidden">{label}</span>
    </span>
  );
}

export interface EchoProps {
  readonly entry: Outgoing;
  readonly by: UserId;
  readonly first: boolean;
  readonly last: boolean;
}

/** What this person has sent and the server has not yet shown back. A failed one stays until it is retried or discarded. */
export const Echo = memo(function Echo({ entry, by, first, last }: EchoProps) {
  const chat = useChat();
  const { state, problem } = entry;
  const failed = state === "failed";
  return (
    <Frame
      who={strings.you}
      by={by}
      at={entry.at}
      mine
      first={first}
      last={last || failed}
      named={false}
      state={state}
      foot={
        <>
          <time dateTime={new Date(entry.at).toISOString()}>{timeOfDay(entry.at)}</time>
          {failed ? <Mark icon="alert" label={say.failedSend} /> : null}
          {state === "stored" ? <Mark icon="check" label={say.stored} /> : null}
          {state === "waiting" || state === "sent" ? (
            <Mark icon="clock" label={state === "sent" ? say.sending : say.waiting} />
          ) : null}
        </>
      }
    >
      <MessageText body={entry.body} />
      {failed ? (
        <div className="bubble-problem">
          <span role="alert">
            {say.failedSend}. {problemText(problem ?? "other")}
          </span>
          <Button onClick={() => chat.retry(entry.id)}>{say.retry}</Button>
          <Button onClick={() => chat.dispatch({ on: "discard", id: entry.id })}>{say.discard}</Button>
        </div>
      ) : null}
    </Frame>
  );
});
