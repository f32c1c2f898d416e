/** What every feature may use of the session it is shown in. Made in `app/chat.ts`, handed down by context, read by narrow selectors. */
import { createContext, useContext, useSyncExternalStore } from "react";
import type { Api } from "../api/api.ts";
import type { Clock } from "../lib/clock.ts";
import type { Readable } from "../lib/observable.ts";
import type { Drafts } from "../model/drafts.ts";
import type { Input, Model } from "../model/state.ts";
import type { Connection } from "../socket/connection.ts";
import type { CommandId, ConversationId } from "../wire/ids.ts";
import type { Summary } from "../wire/types.ts";

export interface Chat {
  readonly api: Api;
  readonly clock: Clock;
  readonly drafts: Drafts;
  readonly connection: Readable<Connection>;
  get(): Model;
  subscribe(listener: () => void): () => void;
  dispatch(input: Input): void;
  /** A fresh idempotency key. */
  newKey(): CommandId;
  /** False when the outbox is full; the text is then still the caller's. */
  send(conversation: ConversationId, body: string): boolean;
  retry(id: CommandId): void;
  /** A conversation this person has just created or joined. */
  take(summary: Summary): void;
  retryNow(): void;
  networkHint(up: boolean): void;
  probe(): void;
  start(): Promise<void>;
  /** Ends the session here; `forget` also removes what is kept on this device. */
  stop(forget: boolean): Promise<void>;
}

export const ChatContext = createContext<Chat | null>(null);

export function useChat(): Chat {
  const chat = useContext(ChatContext);
  if (chat === null) throw new Error("useChat outside a session");
  return chat;
}

/** Reads a part of the model. The selector must answer the same reference while nothing it reads has changed. */
export function useModel<T>(select: (model: Model) => T): T {
  const chat = useChat();
  return useSyncExternalStore(chat.subscribe, () => select(chat.get()));
}

export function useReadable<T>(readable: Readable<T>): T {
  return useSyncExternalStore(readable.subscribe, readable.get);
}
