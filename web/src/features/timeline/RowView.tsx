import { memo } from "react";
import { dayTitle } from "../../lib/format.ts";
import { strings } from "../../lib/strings.ts";
import { nameOf } from "../../model/selectors.ts";
import { useChat, useModel } from "../chat.ts";
import { Bubble, Echo } from "./Bubble.tsx";
import type { Row } from "./rows.ts";

/** One line of the timeline with what stands above it. */
export const RowView = memo(function RowView(props: {
  readonly row: Row;
  readonly named: boolean;
  readonly focused: boolean;
  /** Nothing was ever said before this line. */
  readonly begins: boolean;
}) {
  const { row, named, focused, begins } = props;
  const chat = useChat();
  const me = useModel((model) => model.me.id);
  const { said, first, last } = row;
  const by = said.is === "message" ? said.message.by : me;
  const who = useModel((model) => nameOf(model.people, by));
  return (
    <>
      {begins ? <p className="beginning">{strings.timeline.start}</p> : null}
      {row.opensDay ? (
        <p className="day">
          <span>{dayTitle(row.at, chat.clock.now())}</span>
        </p>
      ) : null}
      {row.opensUnread ? (
        <p className="unread-mark">
          <span>{strings.timeline.unread}</span>
        </p>
      ) : null}
      {said.is === "message" ? (
        <Bubble
          message={said.message}
          who={who}
          mine={by === me}
          first={first}
          last={last}
          named={named}
          focused={focused}
        />
      ) : (
        <Echo entry={said.entry} by={by} first={first} last={last} />
      )}
    </>
  );
});
