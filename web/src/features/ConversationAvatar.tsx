/** The picture of a conversation: the other person's in a direct one, a sign of its kind otherwise. Shared by inbox and header. */
import { titleOf } from "../model/selectors.ts";
import { Avatar } from "../ui/Avatar.tsx";
import type { Named } from "../wire/types.ts";

export function ConversationAvatar({
  summary,
  size = "medium",
}: {
  readonly summary: Named;
  readonly size?: "small" | "medium";
}) {
  const title = titleOf(summary);
  if (summary.kind === "direct")
    return <Avatar id={summary.peer?.id ?? summary.id} name={title} size={size} />;
  const icon = summary.kind === "group" ? "people" : summary.visibility === "public" ? "hash" : "lock";
  return <Avatar id={summary.id} name={title} size={size} icon={icon} />;
}
