/** What must outlive a reload: unsent messages and drafts. A port; the browser's database stands behind it in `app/vault.ts`. */
import type { CommandId, ConversationId } from "../wire/ids.ts";
import type { Outbox, Outgoing } from "./outbox.ts";

export interface Kept {
  readonly outbox: Outbox;
  readonly drafts: ReadonlyMap<ConversationId, string>;
}

/** Each write is best effort: without storage the client works, it only forgets at reload. */
export interface Vault {
  load(): Promise<Kept>;
  keep(entry: Outgoing): void;
  forget(id: CommandId): void;
  keepDraft(id: ConversationId, text: string): void;
  /** Removes everything of this person, at log-out. */
  wipe(): Promise<void>;
}

export function memoryVault(): Vault {
  const outbox = new Map<CommandId, Outgoing>();
  const drafts = new Map<ConversationId, string>();
  return {
    load: async () => ({ outbox: [...outbox.values()], drafts: new Map(drafts) }),
    keep: (entry) => outbox.set(entry.id, entry),
    forget: (id) => outbox.delete(id),
    keepDraft: (id, text) => (text === "" ? drafts.delete(id) : drafts.set(id, text)),
    wipe: async () => {
      outbox.clear();
      drafts.clear();
    },
  };
}
