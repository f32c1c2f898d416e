/** Public rooms: find one, join it, or go where one already is. */
import { useCallback, useState } from "react";
import { problemText, strings } from "../../lib/strings.ts";
import { titleOf } from "../../model/selectors.ts";
import { Button } from "../../ui/Button.tsx";
import { SearchField } from "../../ui/Field.tsx";
import { Icon } from "../../ui/icons.tsx";
import { Notice, Waiting } from "../../ui/Notice.tsx";
import { Link } from "../../ui/navigation.tsx";
import type { ConversationId } from "../../wire/ids.ts";
import type { Room } from "../../wire/types.ts";
import { ConversationAvatar } from "../ConversationAvatar.tsx";
import { useChat, useModel } from "../chat.ts";
import { useJoin } from "./useJoin.ts";
import { useSearch } from "./useSearch.ts";

const say = strings.rooms;

export interface RoomsPageProps {
  readonly onJoined: (id: ConversationId) => void;
  readonly onNew: () => void;
}

export function RoomsPage({ onJoined, onNew }: RoomsPageProps) {
  const chat = useChat();
  const [query, setQuery] = useState("");
  const [extra, setExtra] = useState<{
    readonly of: string;
    readonly items: readonly Room[];
    readonly next: string | null;
  } | null>(null);
  const wanted = query.trim();
  const ask = useCallback((text: string) => chat.api.rooms(text, null), [chat]);
  const found = useSearch<Room>(chat.clock, wanted, ask);
  const more = extra?.of === wanted ? extra : null;
  const rooms = [...(found.items ?? []), ...(more?.items ?? [])];
  const next = more === null ? found.next : more.next;

  async function showMore() {
    if (next === null) return;
    const answer = await chat.api.rooms(wanted, next);
    if (answer.ok)
      setExtra({
        of: wanted,
        items: [...(more?.items ?? []), ...answer.value.items],
        next: answer.value.next_cursor,
      });
  }

  return (
    <section className="rooms" aria-label={say.title}>
      <header className="pane-head">
        <Link href="/" className="icon-button back" aria-label={strings.back}>
          <Icon name="back" />
        </Link>
        <div className="pane-title">
          <h1>{say.title}</h1>
          <p className="muted">{say.subtitle}</p>
        </div>
      </header>
      <div className="rooms-body">
        <SearchField label={say.search} value={query} onChange={(event) => setQuery(event.target.value)} />
        {found.problem === null ? null : (
          <p className="form-problem" role="alert">
            {problemText(found.problem)}
          </p>
        )}
        {found.items === null ? <Waiting label={strings.conversation.loading} /> : null}
        {found.items !== null && rooms.length === 0 && !found.busy && found.problem === null ? (
          <Notice icon="compass" title={say.none} hint={say.noneHint}>
            <Button tone="primary" onClick={onNew}>
              {strings.create.createRoom}
            </Button>
          </Notice>
        ) : null}
        <ul className="rooms-list">
          {rooms.map((room) => (
            <li key={room.id}>
              <RoomCard room={room} onJoined={onJoined} />
            </li>
          ))}
        </ul>
        {next === null ? null : <Button onClick={() => void showMore()}>{say.more}</Button>}
      </div>
    </section>
  );
}

function RoomCard({
  room,
  onJoined,
}: {
  readonly room: Room;
  readonly onJoined: (id: ConversationId) => void;
}) {
  const inside = useModel((model) => model.conversations.has(room.id));
  const { busy, problem, join } = useJoin(onJoined);
  const title = titleOf(room);
  return (
    <div className="room">
      <ConversationAvatar summary={room} />
      <div className="room-text">
        <bdi className="room-title">{title}</bdi>
        {room.topic === null ? null : <bdi className="muted">{room.topic}</bdi>}
        <span className="muted">{strings.conversation.members(room.member_count)}</span>
        {problem === null ? null : <span className="form-problem">{problemText(problem)}</span>}
      </div>
      {inside ? (
        <Link href={`/c/${room.id}`} className="button button-quiet" aria-label={say.openNamed(title)}>
          {say.open}
        </Link>
      ) : (
        <Button
          tone="primary"
          disabled={busy}
          onClick={() => void join(room.id)}
          aria-label={say.joinNamed(title)}
        >
          {say.join}
        </Button>
      )}
    </div>
  );
}
