/** The signed-in screen: inbox beside one pane; on a phone one at a time. */
import { useEffect, useState } from "react";
import { ConnectionVoice } from "../features/ConnectionStatus.tsx";
import { useChat, useModel } from "../features/chat.ts";
import { NewConversation } from "../features/discover/NewConversation.tsx";
import { RoomsPage } from "../features/discover/RoomsPage.tsx";
import { Sidebar } from "../features/inbox/Sidebar.tsx";
import { parseRoute } from "../lib/route.ts";
import { strings } from "../lib/strings.ts";
import { inboxOf, titleOf, unreadTotal } from "../model/selectors.ts";
import { Notice } from "../ui/Notice.tsx";
import { useNavigation } from "../ui/navigation.tsx";
import { type ConversationId, conversationId } from "../wire/ids.ts";
import { ConversationPane } from "./ConversationPane.tsx";
import { ErrorBoundary } from "./ErrorBoundary.tsx";

/** The browser's own signs of life become hints for the line. */
function useHints(): void {
  const chat = useChat();
  useEffect(() => {
    const online = () => chat.networkHint(true);
    const offline = () => chat.networkHint(false);
    const shown = () => {
      if (document.visibilityState === "visible") chat.probe();
      else chat.drafts.flush();
    };
    window.addEventListener("online", online);
    window.addEventListener("offline", offline);
    document.addEventListener("visibilitychange", shown);
    window.addEventListener("pagehide", chat.drafts.flush);
    return () => {
      window.removeEventListener("online", online);
      window.removeEventListener("offline", offline);
      document.removeEventListener("visibilitychange", shown);
      window.removeEventListener("pagehide", chat.drafts.flush);
    };
  }, [chat]);
}

function useTitle(open: ConversationId | null): void {
  const unread = useModel(unreadTotal);
  const name = useModel((model) => {
    const conversation = open === null ? undefined : model.conversations.get(open);
    return conversation === undefined ? null : titleOf(conversation.summary);
  });
  useEffect(() => {
    const place = name === null ? strings.product : `${name} · ${strings.product}`;
    document.title = unread > 0 ? `(${unread}) ${place}` : place;
  }, [unread, name]);
}

/** Alt with an arrow goes to the neighbour in the inbox. */
function useNeighbourKeys(open: ConversationId | null): void {
  const chat = useChat();
  const navigation = useNavigation();
  useEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      if (!event.altKey || event.ctrlKey || event.metaKey) return;
      const by = event.key === "ArrowDown" ? 1 : event.key === "ArrowUp" ? -1 : 0;
      if (by === 0) return;
      const ids = inboxOf(chat.get()).map(({ summary }) => summary.id);
      const next = ids[(open === null ? -1 : ids.indexOf(open)) + by];
      if (next === undefined) return;
      event.preventDefault();
      navigation.go(`/c/${next}`);
    };
    window.addEventListener("keydown", onKey);
    return () => window.removeEventListener("keydown", onKey);
  }, [chat, navigation, open]);
}

export function Main({ onLogOut }: { readonly onLogOut: () => void }) {
  const chat = useChat();
  const navigation = useNavigation();
  const [creating, setCreating] = useState(false);
  const route = parseRoute(navigation.path);
  const open = route.at === "conversation" ? conversationId(route.id) : null;
  useHints();
  useTitle(open);
  useNeighbourKeys(open);

  useEffect(() => {
    if (open === null) chat.dispatch({ on: "close" });
  }, [chat, open]);

  const show = (path: string) => {
    setCreating(false);
    navigation.go(path);
  };
  return (
    <div className="main" data-pane={route.at === "conversation" || route.at === "rooms" || undefined}>
      <Sidebar
        openId={open}
        roomsOpen={route.at === "rooms"}
        onNew={() => setCreating(true)}
        onLogOut={onLogOut}
      />
      <ConnectionVoice />
      <main className="stage">
        <ErrorBoundary key={navigation.path}>
          {route.at === "conversation" && open !== null ? (
            <ConversationPane key={open} id={open} messageNo={route.messageNo} />
          ) : route.at === "rooms" ? (
            <RoomsPage onJoined={(id) => show(`/c/${id}`)} onNew={() => setCreating(true)} />
          ) : (
            <Notice icon="chat" title={strings.conversation.none} hint={strings.conversation.noneHint} />
          )}
        </ErrorBoundary>
      </main>
      {creating ? (
        <NewConversation onClose={() => setCreating(false)} onCreated={(id) => show(`/c/${id}`)} />
      ) : null}
    </div>
  );
}
