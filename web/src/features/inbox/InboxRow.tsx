import { useSyncExternalStore } from "react";
import { fullTime, shortWhen } from "../../lib/format.ts";
import { strings } from "../../lib/strings.ts";
import { echoesOf, nameOf, titleOf } from "../../model/selectors.ts";
import type { Conversation } from "../../model/state.ts";
import { Link } from "../../ui/navigation.tsx";
import { ConversationAvatar } from "../ConversationAvatar.tsx";
import { useChat, useModel } from "../chat.ts";

const say = strings.inbox;

/** Badges stop counting here; the exact number is in the label. */
const BADGE_MAX = 999;

export function InboxRow({
  conversation,
  open,
}: {
  readonly conversation: Conversation;
  readonly open: boolean;
}) {
  const { summary } = conversation;
  const chat = useChat();
  const title = titleOf(summary);
  const last = summary.last_message;
  const unread = summary.unread;
  return (
    <Link
      href={`/c/${summary.id}`}
      className="row"
      aria-current={open ? "page" : undefined}
      data-unread={unread > 0 || undefined}
    >
      <ConversationAvatar summary={summary} />
      <span className="row-text">
        <span className="row-top">
          <bdi className="row-title">{title}</bdi>
          {last === null ? null : (
            <time dateTime={new Date(last.at).toISOString()} title={fullTime(last.at)}>
              {shortWhen(last.at, chat.clock.now())}
            </time>
          )}
        </span>
        <span className="row-bottom">
          <Preview conversation={conversation} open={open} />
          {unread > 0 ? (
            <span className="badge">
              <span aria-hidden="true">{unread > BADGE_MAX ? `${BADGE_MAX}+` : unread}</span>
              <span className="hidden">{say.unread(unread)}</span>
            </span>
          ) : null}
        </span>
      </span>
    </Link>
  );
}

/** The draft, or what waits to be sent, or the last message. */
function Preview({ conversation, open }: { readonly conversation: Conversation; readonly open: boolean }) {
  const { summary } = conversation;
  const chat = useChat();
  const draft = useSyncExternalStore(chat.drafts.subscribe, () => chat.drafts.get(summary.id));
  const echo = useModel((model) => echoesOf(model, summary.id).at(-1));
  const people = useModel((model) => model.people);
  const me = useModel((model) => model.me.id);
  if (draft.trim() !== "" && !open) {
    return (
      <span className="row-preview">
        <em>{say.draft}</em> <bdi>{draft}</bdi>
      </span>
    );
  }
  if (echo?.state === "failed") {
    return (
      <span className="row-preview">
        <em>{say.notSent}</em> <bdi>{echo.body}</bdi>
      </span>
    );
  }
  const last = echo ?? summary.last_message;
  if (last === null) return <span className="row-preview">{say.noMessages}</span>;
  const by = "by" in last ? last.by : me;
  const prefix = by === me ? say.mine : summary.kind === "direct" ? null : `${nameOf(people, by)}:`;
  return (
    <span className="row-preview">
      {prefix === null ? null : <bdi>{prefix} </bdi>}
      <bdi>{last.body ?? say.deleted}</bdi>
    </span>
  );
}
