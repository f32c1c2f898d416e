/** Who is here, and the way out. */
import { useEffect, useState } from "react";
import { problemText, strings } from "../../lib/strings.ts";
import { Avatar } from "../../ui/Avatar.tsx";
import { Button } from "../../ui/Button.tsx";
import { Dialog } from "../../ui/Dialog.tsx";
import { Waiting } from "../../ui/Notice.tsx";
import type { Summary } from "../../wire/types.ts";
import { useChat, useModel } from "../chat.ts";

const say = strings.conversation;

export interface MembersPanelProps {
  readonly summary: Summary;
  readonly onClose: () => void;
  readonly onLeft: () => void;
}

export function MembersPanel({ summary, onClose, onLeft }: MembersPanelProps) {
  const chat = useChat();
  const { id } = summary;
  const members = useModel((model) => model.conversations.get(id)?.members ?? null);
  const [asking, setAsking] = useState(false);
  const [problem, setProblem] = useState<string | null>(null);
  const unknown = members === null;

  useEffect(() => {
    if (unknown) chat.dispatch({ on: "want_members", id });
  }, [chat, id, unknown]);

  async function leave() {
    const answer = await chat.api.leave(id, chat.newKey());
    if (answer.ok) onLeft();
    else setProblem(answer.error.detail || problemText(answer.error.code));
  }

  return (
    <Dialog title={`${say.membersTitle} · ${summary.member_count.toLocaleString()}`} onClose={onClose}>
      {members === null ? <Waiting label={say.loading} /> : null}
      <ul className="people-list">
        {members?.map(({ user, role }) => (
          <li key={user.id} className="person">
            <Avatar id={user.id} name={user.display_name} />
            <span className="person-name">
              <bdi>{user.display_name}</bdi>
              <bdi className="muted">@{user.username}</bdi>
            </span>
            {say.role[role] === "" ? null : <span className="tag">{say.role[role]}</span>}
          </li>
        ))}
      </ul>
      {summary.kind === "direct" ? null : (
        <footer className="dialog-foot">
          <p className="form-problem" role="alert">
            {problem ?? ""}
          </p>
          {asking ? (
            <>
              <p>{say.leaveAsk}</p>
              <Button onClick={() => setAsking(false)}>{strings.cancel}</Button>
              <Button tone="danger" onClick={() => void leave()}>
                {say.leave}
              </Button>
            </>
          ) : (
            <Button onClick={() => setAsking(true)}>{say.leave}</Button>
          )}
        </footer>
      )}
    </Dialog>
  );
}
