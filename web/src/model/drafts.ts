/**
 * What is being written, per conversation. Kept apart from the live model on purpose: nothing that arrives can reach it; only the person
 * who types and the send key change a draft.
 */
import type { Clock } from "../lib/clock.ts";
import type { ConversationId } from "../wire/ids.ts";
import type { Vault } from "./vault.ts";

export interface Drafts {
  get(id: ConversationId): string;
  set(id: ConversationId, text: string): void;
  subscribe(listener: () => void): () => void;
  /** Takes what an earlier run kept; what was typed since then wins. */
  restore(kept: ReadonlyMap<ConversationId, string>): void;
  /** Writes what is not yet written, before the page goes. */
  flush(): void;
}

/** Typing pauses for this long before the draft is written to storage. */
const KEEP_AFTER_MS = 400;

export function createDrafts(clock: Clock, vault: Pick<Vault, "keepDraft">): Drafts {
  const texts = new Map<ConversationId, string>();
  const touched = new Set<ConversationId>();
  const unsaved = new Set<ConversationId>();
  const listeners = new Set<() => void>();
  let cancel: (() => void) | null = null;

  function flush(): void {
    cancel?.();
    cancel = null;
    for (const id of unsaved) vault.keepDraft(id, texts.get(id) ?? "");
    unsaved.clear();
  }

  function tell(): void {
    for (const listener of [...listeners]) listener();
  }

  return {
    get: (id) => texts.get(id) ?? "",
    set: (id, text) => {
      touched.add(id);
      unsaved.add(id);
      if (text === "") texts.delete(id);
      else texts.set(id, text);
      cancel?.();
      cancel = clock.after(KEEP_AFTER_MS, flush);
      tell();
    },
    subscribe: (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    restore: (kept) => {
      for (const [id, text] of kept) if (!touched.has(id)) texts.set(id, text);
      tell();
    },
    flush,
  };
}
