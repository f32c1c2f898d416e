/**
 * One signed-in session, put together: store, socket, REST, vault. Runs the model's effects and turns what comes back into inputs.
 *
 * Never: a decision about data (that is `model/reduce.ts`), anything of React.
 */
import { type Api, MESSAGES_PAGE } from "../api/api.ts";
import type { Answer } from "../api/http.ts";
import type { Chat } from "../features/chat.ts";
import type { Clock, Random } from "../lib/clock.ts";
import { uuidv7 } from "../lib/ids.ts";
import type { Logger } from "../lib/logger.ts";
import { createDrafts } from "../model/drafts.ts";
import { OUTBOX_MAX } from "../model/outbox.ts";
import { type Effect, emptyModel, type PageQuery } from "../model/state.ts";
import { createStore, cursors } from "../model/store.ts";
import type { Vault } from "../model/vault.ts";
import { createDriver } from "../socket/driver.ts";
import type { Transport } from "../socket/transport.ts";
import { type CommandId, type ConversationId, commandId, type UserId } from "../wire/ids.ts";
import type { Member, Page, Summary, User } from "../wire/types.ts";

export interface ChatParts {
  readonly me: User;
  readonly api: Api;
  readonly transport: Transport;
  readonly vault: Vault;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly deviceId: string;
  readonly version: string;
}

/** Pages of the inbox read after a connect; beyond it conversations appear when something happens in them. */
const INBOX_PAGES_MAX = 20;
/** Pages of members read for the list of one conversation. */
const MEMBER_PAGES_MAX = 5;
/** Pause before a failed read is repeated, in milliseconds. */
const READ_AGAIN_MS = 2_000;
/** Attempts at a read that the network swallows, before the person is told. */
const READS_MAX = 3;

export function createChat(parts: ChatParts): Chat {
  const { api, clock, random, vault } = parts;
  let over = false;
  let inboxRun = 0;

  const store = createStore(emptyModel(parts.me), clock, run);
  const drafts = createDrafts(clock, vault);
  const driver = createDriver({
    transport: parts.transport,
    clock,
    random,
    logger: parts.logger,
    hello: () => {
      const known = cursors(store.get());
      return {
        t: "hello",
        client: { name: "hubbub-web", version: parts.version, device_id: parts.deviceId },
        ...(known.length === 0 ? {} : { cursors: known }),
      };
    },
    onFrames: (frames) => {
      // Somebody else has logged in with this browser: nothing of theirs may mix with what is here.
      if (frames.some((frame) => frame.t === "welcome" && frame.user.id !== parts.me.id)) sessionOver();
      if (!over) store.dispatch({ on: "frames", frames });
    },
  });
  driver.connection.subscribe(() => {
    const connection = driver.connection.get();
    if (store.get().live && connection.at !== "live") store.dispatch({ on: "disconnected" });
    // A first attempt that fails must not leave an empty screen: what REST can show is shown, and marked as not live.
    if (connection.at === "waiting" && store.get().inbox === "stale") store.dispatch({ on: "reload_inbox" });
    if (connection.at === "waiting" && connection.reason === "unreachable") void checkSession();
  });

  /** A refused upgrade looks like a lost network from here; REST tells the difference. */
  async function checkSession(): Promise<void> {
    const answer = await api.me();
    if (over) return;
    const gone = answer.ok ? answer.value.id !== parts.me.id : answer.error.code === "unauthenticated";
    if (gone) sessionOver();
  }

  function sessionOver(): void {
    over = true;
    driver.end();
  }

  function newCommandId(): CommandId {
    const id = commandId(uuidv7(clock.now(), random));
    if (id === null) throw new Error("the id generator made no UUID");
    return id;
  }

  const pause = (ms: number): Promise<void> => new Promise((resolve) => void clock.after(ms, resolve));

  /** Reads again when the network failed or the server asks to come later. */
  async function persistent<T>(read: () => Promise<Answer<T>>): Promise<Answer<T>> {
    for (let attempt = 1; ; attempt += 1) {
      const answer = await read();
      const open =
        !answer.ok && ["network", "busy", "unavailable", "rate_limited"].includes(answer.error.code);
      if (!open || attempt >= READS_MAX || over) return answer;
      await pause(answer.error.retry_after_ms ?? READ_AGAIN_MS * attempt);
    }
  }

  async function readInbox(): Promise<void> {
    inboxRun += 1;
    const mine = inboxRun;
    let cursor: string | null = null;
    for (let count = 1; count <= INBOX_PAGES_MAX; count += 1) {
      const at: string | null = cursor;
      const answer: Answer<Page<Summary>> = await persistent(() => api.inbox(at));
      if (mine !== inboxRun || over) return;
      if (!answer.ok) return store.dispatch({ on: "inbox_failed" });
      cursor = answer.value.next_cursor;
      const last = cursor === null || count === INBOX_PAGES_MAX;
      store.dispatch({ on: "inbox_page", items: answer.value.items, first: count === 1, last });
      if (last) return;
    }
  }

  async function readSummary(id: ConversationId): Promise<void> {
    const answer = await persistent(() => api.conversation(id));
    if (answer.ok) store.dispatch({ on: "summary", summary: answer.value });
    else store.dispatch({ on: "summary_failed", id, code: answer.error.code });
  }

  async function readPage(id: ConversationId, query: PageQuery, generation: number): Promise<void> {
    const { side } = query;
    const at =
      query.side === "newest"
        ? ("newest" as const)
        : query.side === "before"
          ? { before: query.no }
          : query.side === "after"
            ? { after: query.no }
            : { around: query.no };
    const answer = await persistent(() => api.messages(id, at));
    if (!answer.ok)
      return store.dispatch({ on: "page_failed", id, side, generation, code: answer.error.code });
    const { items, next_cursor } = answer.value;
    const more =
      next_cursor !== null ||
      (side !== "around" && items.length >= MESSAGES_PAGE && (items[0]?.message_no ?? 1) > 1);
    store.dispatch({ on: "page", id, side, generation, items, more });
  }

  async function readEvents(id: ConversationId, fromSeq: number): Promise<void> {
    const answer = await api.events(id, fromSeq);
    if (answer.ok) store.dispatch({ on: "filled", id, items: answer.value.items });
    else store.dispatch({ on: "fill_failed", id, code: answer.error.code });
  }

  async function readUser(id: UserId): Promise<void> {
    const answer = await persistent(() => api.user(id));
    if (answer.ok) store.dispatch({ on: "people", users: [answer.value] });
  }

  async function readMembers(id: ConversationId): Promise<void> {
    const members: Member[] = [];
    let cursor: string | null = null;
    for (let count = 0; count < MEMBER_PAGES_MAX; count += 1) {
      const at: string | null = cursor;
      const answer: Answer<Page<Member>> = await persistent(() => api.members(id, at));
      if (!answer.ok) return;
      members.push(...answer.value.items);
      cursor = answer.value.next_cursor;
      if (cursor === null) break;
    }
    store.dispatch({ on: "members", id, members });
  }

  function run(effect: Effect): void {
    if (over) return;
    switch (effect.do) {
      case "send":
        driver.send(effect.frame);
        return;
      case "fetch_inbox":
        void readInbox();
        return;
      case "fetch_summary":
        void readSummary(effect.id);
        return;
      case "fetch_page":
        void readPage(effect.id, effect.query, effect.generation);
        return;
      case "fetch_events":
        void readEvents(effect.id, effect.fromSeq);
        return;
      case "fetch_user":
        void readUser(effect.id);
        return;
      case "fetch_members":
        void readMembers(effect.id);
        return;
      case "probe":
        return driver.probe();
      case "keep":
        return vault.keep(effect.entry);
      case "forget":
        return vault.forget(effect.id);
      case "later":
        clock.after(effect.ms, () => {
          if (!over) store.dispatch(effect.input);
        });
        return;
    }
  }

  return {
    api,
    clock,
    drafts,
    connection: driver.connection,
    get: store.get,
    subscribe: store.subscribe,
    dispatch: store.dispatch,
    newKey: newCommandId,
    send(conversation, body) {
      if (store.get().outbox.length >= OUTBOX_MAX) return false;
      store.dispatch({ on: "send", id: newCommandId(), conversation, body });
      return true;
    },
    retry: (id) => store.dispatch({ on: "retry", id, fresh: newCommandId() }),
    take: (summary: Summary) => store.dispatch({ on: "summary", summary }),
    retryNow: driver.retryNow,
    networkHint: driver.networkHint,
    probe: driver.probe,
    async start() {
      driver.start();
      const kept = await vault.load();
      if (over) return;
      drafts.restore(kept.drafts);
      store.dispatch({ on: "restored", outbox: kept.outbox });
    },
    async stop(forget) {
      over = true;
      drafts.flush();
      driver.stop();
      if (forget) await vault.wipe();
    },
  };
}
