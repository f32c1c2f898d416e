/** Start something: with a person, with several, or a room. */
import { type FormEvent, useId, useState } from "react";
import { problemText, strings } from "../../lib/strings.ts";
import { Avatar } from "../../ui/Avatar.tsx";
import { Button, IconButton } from "../../ui/Button.tsx";
import { Dialog } from "../../ui/Dialog.tsx";
import { Field } from "../../ui/Field.tsx";
import type { ConversationId } from "../../wire/ids.ts";
import type { User, Visibility } from "../../wire/types.ts";
import { PeopleSearch } from "./PeopleSearch.tsx";
import { useCreate } from "./useCreate.ts";

const say = strings.create;
const KINDS = ["direct", "group", "room"] as const;
type Kind = (typeof KINDS)[number];

export interface NewConversationProps {
  readonly onClose: () => void;
  readonly onCreated: (id: ConversationId) => void;
}

export function NewConversation({ onClose, onCreated }: NewConversationProps) {
  const [kind, setKind] = useState<Kind>("direct");
  const group = useId();
  return (
    <Dialog title={say.title} onClose={onClose}>
      <fieldset className="segments">
        <legend className="hidden">{say.title}</legend>
        {KINDS.map((option) => (
          <label key={option}>
            <input type="radio" name={group} checked={kind === option} onChange={() => setKind(option)} />
            <span>{say[option]}</span>
          </label>
        ))}
      </fieldset>
      {kind === "direct" ? <Direct onCreated={onCreated} /> : null}
      {kind === "group" ? <Group onCreated={onCreated} /> : null}
      {kind === "room" ? <Room onCreated={onCreated} /> : null}
    </Dialog>
  );
}

function Problem({ code }: { readonly code: string | null }) {
  return (
    <p className="form-problem" role="alert">
      {code === null ? "" : problemText(code)}
    </p>
  );
}

type FormProps = Pick<NewConversationProps, "onCreated">;

function Direct({ onCreated }: FormProps) {
  const { busy, problem, create } = useCreate(onCreated);
  return (
    <>
      <PeopleSearch
        without={[]}
        busy={busy}
        label={(user) => `${user.display_name}, @${user.username}`}
        onPick={(user) => void create({ kind: "direct", members: [user.id] })}
      />
      <Problem code={problem} />
    </>
  );
}

function Group({ onCreated }: FormProps) {
  const { busy, problem, create } = useCreate(onCreated);
  const [title, setTitle] = useState("");
  const [chosen, setChosen] = useState<readonly User[]>([]);
  const members = chosen.map((user) => user.id);

  function submit(event: FormEvent) {
    event.preventDefault();
    void create({ kind: "group", title: title.trim(), members });
  }

  return (
    <form onSubmit={submit}>
      <Field
        label={say.groupName}
        value={title}
        required
        onChange={(event) => setTitle(event.target.value)}
      />
      {chosen.length === 0 ? null : (
        <ul className="chosen" aria-label={say.chosen}>
          {chosen.map((user) => (
            <li key={user.id}>
              <Avatar id={user.id} name={user.display_name} size="small" />
              <bdi>{user.display_name}</bdi>
              <IconButton
                icon="close"
                label={say.remove(user.display_name)}
                onClick={() => setChosen(chosen.filter((other) => other.id !== user.id))}
              />
            </li>
          ))}
        </ul>
      )}
      <PeopleSearch
        without={members}
        label={(user) => say.add(user.display_name)}
        onPick={(user) => setChosen([...chosen, user])}
      />
      <Problem code={problem} />
      <Button type="submit" tone="primary" disabled={busy || title.trim() === "" || chosen.length === 0}>
        {busy ? say.creating : say.createGroup}
      </Button>
    </form>
  );
}

function Room({ onCreated }: FormProps) {
  const { busy, problem, create } = useCreate(onCreated);
  const [title, setTitle] = useState("");
  const [topic, setTopic] = useState("");
  const [visibility, setVisibility] = useState<Visibility>("public");
  const group = useId();

  function submit(event: FormEvent) {
    event.preventDefault();
    const about = topic.trim();
    void create({ kind: "room", title: title.trim(), visibility, ...(about === "" ? {} : { topic: about }) });
  }

  return (
    <form onSubmit={submit}>
      <Field
        label={say.roomName}
        value={title}
        required
        autoFocus
        onChange={(event) => setTitle(event.target.value)}
      />
      <Field
        label={say.topic}
        hint={say.topicHint}
        value={topic}
        onChange={(event) => setTopic(event.target.value)}
      />
      <fieldset className="choices">
        <legend>{say.visibility}</legend>
        {(["public", "private"] as const).map((option) => (
          <label key={option}>
            <input
              type="radio"
              name={group}
              checked={visibility === option}
              onChange={() => setVisibility(option)}
            />
            <span>{say[option]}</span>
          </label>
        ))}
      </fieldset>
      <Problem code={problem} />
      <Button type="submit" tone="primary" disabled={busy || title.trim() === ""}>
        {busy ? say.creating : say.createRoom}
      </Button>
    </form>
  );
}
