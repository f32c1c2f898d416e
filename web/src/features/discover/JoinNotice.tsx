import { problemText, strings } from "../../lib/strings.ts";
import { Button } from "../../ui/Button.tsx";
import { Notice } from "../../ui/Notice.tsx";
import type { ConversationId } from "../../wire/ids.ts";
import { useJoin } from "./useJoin.ts";

const say = strings.conversation;

/** Shown in place of a conversation this person has no part in. */
export function JoinNotice({ id, reason }: { readonly id: ConversationId; readonly reason: string }) {
  const { busy, problem, join } = useJoin(() => undefined);
  if (reason === "not_joined") {
    return (
      <Notice
        icon="hash"
        title={say.notJoined}
        hint={problem === null ? say.notJoinedHint : problemText(problem)}
      >
        <Button tone="primary" disabled={busy} onClick={() => void join(id)}>
          {busy ? say.joining : say.join}
        </Button>
      </Notice>
    );
  }
  const unknown = reason === "not_found" || reason === "forbidden";
  return (
    <Notice
      icon="chat"
      title={unknown ? say.notFound : say.left}
      hint={unknown ? say.notFoundHint : say.leftHint}
    />
  );
}
