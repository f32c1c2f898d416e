/** The vault on IndexedDB. Every failure is noted and swallowed: private windows have no database, and the chat must work there too. */
import type { Logger } from "../lib/logger.ts";
import type { Outgoing } from "../model/outbox.ts";
import type { Vault } from "../model/vault.ts";
import { commandId, conversationId, type UserId } from "../wire/ids.ts";

const DATABASE = "hubbub";
const VERSION = 1;
const OUTBOX = "outbox";
const DRAFTS = "drafts";

/** One person's part of a store: keys are [user, id]. */
const rangeOf = (user: UserId): IDBKeyRange => IDBKeyRange.bound([user, ""], [user, "\uffff"]);

function openDatabase(): Promise<IDBDatabase> {
  return new Promise((resolve, reject) => {
    const request = indexedDB.open(DATABASE, VERSION);
    request.onupgradeneeded = () => {
      request.result.createObjectStore(OUTBOX);
      request.result.createObjectStore(DRAFTS);
    };
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
    request.onblocked = () => reject(new Error("blocked"));
  });
}

function answerOf<T>(request: IDBRequest<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

/** An entry as an earlier run (perhaps an earlier version) wrote it; anything unfamiliar is left alone. */
function readEntry(value: unknown): Outgoing | null {
  if (typeof value !== "object" || value === null) return null;
  const { id, conversation_id, body, at, state, problem } = value as Partial<Record<keyof Outgoing, unknown>>;
  const command = typeof id === "string" ? commandId(id) : null;
  const conversation = typeof conversation_id === "string" ? conversationId(conversation_id) : null;
  if (command === null || conversation === null || typeof body !== "string" || typeof at !== "number")
    return null;
  return {
    id: command,
    conversation_id: conversation,
    body,
    at,
    state: state === "failed" ? "failed" : "waiting",
    retry: true,
    not_before: 0,
    attempts: 0,
    problem: typeof problem === "string" ? problem : null,
    seq: null,
  };
}

export function browserVault(user: UserId, logger: Logger): Vault {
  const database = openDatabase();
  database.catch(() => logger.note("no local database"));

  async function write(store: string, change: (store: IDBObjectStore) => IDBRequest): Promise<void> {
    try {
      const transaction = (await database).transaction(store, "readwrite");
      await answerOf(change(transaction.objectStore(store)));
    } catch {
      logger.note("local write failed", { store });
    }
  }

  return {
    async load() {
      try {
        const transaction = (await database).transaction([OUTBOX, DRAFTS], "readonly");
        const range = rangeOf(user);
        const drafts = transaction.objectStore(DRAFTS);
        const [entries, texts, keys] = await Promise.all([
          answerOf(transaction.objectStore(OUTBOX).getAll(range)),
          answerOf(drafts.getAll(range)),
          answerOf(drafts.getAllKeys(range)),
        ]);
        const outbox = entries.map(readEntry).filter((entry) => entry !== null);
        const kept = keys.flatMap((key, index) => {
          const id = Array.isArray(key) && typeof key[1] === "string" ? conversationId(key[1]) : null;
          const text: unknown = texts[index];
          return id !== null && typeof text === "string" ? [[id, text] as const] : [];
        });
        return { outbox, drafts: new Map(kept) };
      } catch {
        logger.note("local read failed");
        return { outbox: [], drafts: new Map() };
      }
    },
    keep: (entry) => void write(OUTBOX, (store) => store.put(entry, [user, entry.id])),
    forget: (id) => void write(OUTBOX, (store) => store.delete([user, id])),
    keepDraft: (id, text) =>
      void write(DRAFTS, (store) => (text === "" ? store.delete([user, id]) : store.put(text, [user, id]))),
    async wipe() {
      await write(OUTBOX, (store) => store.delete(rangeOf(user)));
      await write(DRAFTS, (store) => store.delete(rangeOf(user)));
    },
  };
}
