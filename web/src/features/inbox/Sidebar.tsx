/** The left pane: who I am, every conversation with its count, and the state of the line. */
import { type KeyboardEvent, useDeferredValue, useEffect, useRef, useState } from "react";
import { strings } from "../../lib/strings.ts";
import { inboxOf, titleOf } from "../../model/selectors.ts";
import type { Conversation } from "../../model/state.ts";
import { Avatar } from "../../ui/Avatar.tsx";
import { Button, IconButton } from "../../ui/Button.tsx";
import { SearchField } from "../../ui/Field.tsx";
import { Icon } from "../../ui/icons.tsx";
import { Waiting } from "../../ui/Notice.tsx";
import { Link } from "../../ui/navigation.tsx";
import type { ConversationId } from "../../wire/ids.ts";
import { ConnectionStatus } from "../ConnectionStatus.tsx";
import { useChat, useModel } from "../chat.ts";
import { InboxRow } from "./InboxRow.tsx";

const say = strings.inbox;

/** Rows drawn at once; scrolling near the end draws more. */
const ROWS_STEP = 60;

function matches({ summary }: Conversation, filter: string): boolean {
  const words = `${titleOf(summary)} ${summary.peer?.username ?? ""}`.toLocaleLowerCase();
  return words.includes(filter);
}

/** Up and down move between the rows, as in any list. */
function moveFocus(event: KeyboardEvent<HTMLElement>): void {
  if (event.key !== "ArrowDown" && event.key !== "ArrowUp") return;
  const rows = [...event.currentTarget.querySelectorAll<HTMLElement>("a.row")];
  const at = document.activeElement instanceof HTMLElement ? rows.indexOf(document.activeElement) : -1;
  const next = rows[event.key === "ArrowDown" ? at + 1 : Math.max(0, at - 1)];
  if (next === undefined) return;
  event.preventDefault();
  next.focus();
}

export interface SidebarProps {
  readonly openId: ConversationId | null;
  readonly roomsOpen: boolean;
  readonly onNew: () => void;
  readonly onLogOut: () => void;
}

export function Sidebar({ openId, roomsOpen, onNew, onLogOut }: SidebarProps) {
  const me = useModel((model) => model.me);
  const [text, setText] = useState("");
  const search = useRef<HTMLDivElement>(null);
  useEffect(() => {
    const onKey = (event: globalThis.KeyboardEvent) => {
      if (
        event.key.toLowerCase() !== "k" ||
        !(event.ctrlKey || event.metaKey) ||
        event.shiftKey ||
        event.altKey
      )
        return;
      event.preventDefault();
      search.current?.querySelector("input")?.focus();
    };
    window.addEventListener("keydown", onKey);
    return () => window.removeEventListener("keydown", onKey);
  }, []);
  return (
    <nav className="sidebar" aria-label={say.title}>
      <header className="sidebar-head">
        <p className="wordmark">
          <span className="wordmark-dot" aria-hidden="true" />
          {strings.product}
        </p>
        <IconButton icon="plus" label={say.new} tone="accent" onClick={onNew} />
      </header>
      {/* biome-ignore lint/a11y/noStaticElementInteractions: arrow keys are a shortcut; every row is reachable by Tab */}
      <div className="sidebar-list" onKeyDown={moveFocus}>
        <div className="sidebar-search" ref={search}>
          <SearchField
            label={say.filter}
            value={text}
            onChange={(event) => setText(event.target.value)}
            onKeyDown={(event) => {
              if (event.key === "Escape") setText("");
            }}
          />
        </div>
        <Link href="/rooms" className="sidebar-rooms" aria-current={roomsOpen ? "page" : undefined}>
          <Icon name="compass" />
          {say.rooms}
        </Link>
        <Rows openId={openId} filter={text} onNew={onNew} />
      </div>
      <footer className="sidebar-foot">
        <ConnectionStatus />
        <div className="sidebar-me">
          <Avatar id={me.id} name={me.display_name} size="small" />
          <span className="sidebar-me-name">
            <bdi>{me.display_name}</bdi>
            <bdi className="muted">@{me.username}</bdi>
          </span>
          <IconButton icon="exit" label={strings.session.logOut} onClick={onLogOut} />
        </div>
      </footer>
    </nav>
  );
}

function Rows(props: {
  readonly openId: ConversationId | null;
  readonly filter: string;
  readonly onNew: () => void;
}) {
  const { openId, filter, onNew } = props;
  const chat = useChat();
  const all = useModel(inboxOf);
  const state = useModel((model) => model.inbox);
  const wanted = useDeferredValue(filter.trim().toLocaleLowerCase());
  const [limit, setLimit] = useState(ROWS_STEP);
  const end = useRef<HTMLLIElement>(null);
  const found = wanted === "" ? all : all.filter((conversation) => matches(conversation, wanted));
  const more = found.length > limit;

  useEffect(() => {
    const mark = end.current;
    if (!more || mark === null) return;
    const observer = new IntersectionObserver((entries) => {
      if (entries.some((entry) => entry.isIntersecting)) setLimit((present) => present + ROWS_STEP);
    });
    observer.observe(mark);
    return () => observer.disconnect();
  }, [more]);

  if (all.length === 0) {
    if (state === "failed") {
      return (
        <div className="sidebar-empty">
          <p>{say.failed}</p>
          <Button onClick={() => chat.dispatch({ on: "reload_inbox" })}>{strings.tryAgain}</Button>
        </div>
      );
    }
    if (state !== "ready") return <Waiting label={say.loading} />;
    return (
      <div className="sidebar-empty">
        <p>{say.empty}</p>
        <p className="muted">{say.emptyHint}</p>
        <Button tone="primary" onClick={onNew}>
          {say.new}
        </Button>
      </div>
    );
  }
  if (found.length === 0) return <p className="sidebar-empty muted">{say.noMatch}</p>;
  return (
    <ul className="rows">
      {found.slice(0, limit).map((conversation) => (
        <li key={conversation.summary.id}>
          <InboxRow conversation={conversation} open={conversation.summary.id === openId} />
        </li>
      ))}
      {more ? <li ref={end} className="rows-end" /> : null}
    </ul>
  );
}
