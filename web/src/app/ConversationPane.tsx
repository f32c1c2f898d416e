/** One open conversation: header, timeline, composer. Arranges features; decides nothing. */
import { useEffect, useState } from "react";
import { ConnectionStatus } from "../features/ConnectionStatus.tsx";
import { ConversationAvatar } from "../features/ConversationAvatar.tsx";
import { useChat, useModel } from "../features/chat.ts";
import { Composer } from "../features/composer/Composer.tsx";
import { JoinNotice } from "../features/discover/JoinNotice.tsx";
import { MembersPanel } from "../features/members/MembersPanel.tsx";
import { Timeline } from "../features/timeline/Timeline.tsx";
import { strings } from "../lib/strings.ts";
import { titleOf } from "../model/selectors.ts";
import { IconButton } from "../ui/Button.tsx";
import { Icon } from "../ui/icons.tsx";
import { Notice, Waiting } from "../ui/Notice.tsx";
import { Link, useNavigation } from "../ui/navigation.tsx";
import type { ConversationId } from "../wire/ids.ts";
import type { Summary } from "../wire/types.ts";

const say = strings.conversation;

export interface ConversationPaneProps {
  readonly id: ConversationId;
  readonly messageNo: number | null;
}

export function ConversationPane({ id, messageNo }: ConversationPaneProps) {
  const chat = useChat();
  const summary = useModel((model) => model.conversations.get(id)?.summary ?? null);
  const missing = useModel((model) => model.missing.get(id) ?? null);
  const inbox = useModel((model) => model.inbox);
  const live = useModel((model) => model.live);
  const [sent, setSent] = useState(0);

  useEffect(() => {
    chat.dispatch({ on: "open", id, around: messageNo });
  }, [chat, id, messageNo]);

  if (summary === null) {
    return (
      <div className="pane pane-empty">
        <BackLink />
        {missing !== null ? <JoinNotice id={id} reason={missing} /> : null}
        {missing === null && inbox === "failed" ? <Notice icon="alert" title={strings.inbox.failed} /> : null}
        {missing === null && inbox !== "failed" ? <Waiting label={say.loading} /> : null}
      </div>
    );
  }
  const title = titleOf(summary);
  return (
    <section className="pane" aria-label={title}>
      <Header summary={summary} title={title} />
      {live ? null : (
        <div className="stale">
          <ConnectionStatus />
        </div>
      )}
      <Timeline id={id} focusNo={messageNo} sent={sent} />
      <Composer id={id} title={title} onSent={() => setSent((count) => count + 1)} />
    </section>
  );
}

function BackLink() {
  return (
    <Link href="/" className="icon-button back" aria-label={strings.back}>
      <Icon name="back" />
    </Link>
  );
}

function subtitle(summary: Summary): string {
  if (summary.kind === "direct") return summary.peer === null ? say.direct : `@${summary.peer.username}`;
  const kind =
    summary.kind === "group" ? say.group : summary.visibility === "public" ? say.publicRoom : say.privateRoom;
  return `${kind} · ${say.members(summary.member_count)}`;
}

function Header({ summary, title }: { readonly summary: Summary; readonly title: string }) {
  const navigation = useNavigation();
  const [membersShown, setMembersShown] = useState(false);
  return (
    <header className="pane-head">
      <BackLink />
      <ConversationAvatar summary={summary} />
      <div className="pane-title">
        <h1>
          <bdi>{title}</bdi>
        </h1>
        <p className="muted">
          <span>{subtitle(summary)}</span>
          {summary.topic === null ? null : (
            <>
              {" · "}
              <bdi>{summary.topic}</bdi>
            </>
          )}
        </p>
      </div>
      <IconButton icon="people" label={say.showMembers} onClick={() => setMembersShown(true)} />
      {membersShown ? (
        <MembersPanel
          summary={summary}
          onClose={() => setMembersShown(false)}
          onLeft={() => {
            setMembersShown(false);
            navigation.go("/");
          }}
        />
      ) : null}
    </header>
  );
}
