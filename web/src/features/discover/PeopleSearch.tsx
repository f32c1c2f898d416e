/** Finds people by name; what choosing one means is the caller's. */
import { useCallback, useState } from "react";
import { problemText, strings } from "../../lib/strings.ts";
import { Avatar } from "../../ui/Avatar.tsx";
import { SearchField } from "../../ui/Field.tsx";
import type { UserId } from "../../wire/ids.ts";
import type { User } from "../../wire/types.ts";
import { useChat, useModel } from "../chat.ts";
import { useSearch } from "./useSearch.ts";

const say = strings.create;

export interface PeopleSearchProps {
  readonly without: readonly UserId[];
  readonly label: (user: User) => string;
  readonly onPick: (user: User) => void;
  readonly busy?: boolean;
}

export function PeopleSearch({ without, label, onPick, busy = false }: PeopleSearchProps) {
  const chat = useChat();
  const me = useModel((model) => model.me.id);
  const [query, setQuery] = useState("");
  const wanted = query.trim();
  const ask = useCallback((text: string) => chat.api.findUsers(text), [chat]);
  const found = useSearch<User>(chat.clock, wanted, wanted === "" ? null : ask);
  const people = found.items?.filter((user) => user.id !== me && !without.includes(user.id)) ?? null;
  return (
    <div className="people">
      <SearchField
        label={say.findPeople}
        value={query}
        autoFocus
        onChange={(event) => setQuery(event.target.value)}
        onKeyDown={(event) => {
          // Inside a form, Enter would send the form while someone is still looking.
          if (event.key === "Enter") event.preventDefault();
        }}
      />
      <p className="people-state" role="status">
        {wanted === "" ? say.findPeopleHint : null}
        {wanted !== "" && people === null ? say.searching : null}
        {found.problem !== null ? problemText(found.problem) : null}
        {found.problem === null && people?.length === 0 && !found.busy ? say.nobody : null}
      </p>
      <ul className="people-list">
        {people?.map((user) => (
          <li key={user.id}>
            <button
              type="button"
              className="person"
              disabled={busy}
              aria-label={label(user)}
              onClick={() => onPick(user)}
            >
              <Avatar id={user.id} name={user.display_name} />
              <span className="person-name">
                <bdi>{user.display_name}</bdi>
                <bdi className="muted">@{user.username}</bdi>
              </span>
            </button>
          </li>
        ))}
      </ul>
    </div>
  );
}
