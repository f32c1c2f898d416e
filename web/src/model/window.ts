/**
 * The loaded part of a conversation's history: one unbroken run of messages, ascending by number. Pages extend it at either end, live
 * messages at the late end while it touches the head.
 *
 * Never: two runs with a hole between them.
 */
import type { Message } from "../wire/types.ts";

export interface Window {
  readonly items: readonly Message[];
  readonly moreBefore: boolean;
  /** True while the run ends before the head (after a jump to an old message). */
  readonly moreAfter: boolean;
  /** False until the first page is in. */
  readonly ready: boolean;
}

export const emptyWindow: Window = { items: [], moreBefore: false, moreAfter: false, ready: false };

export const firstNo = (window: Window): number => window.items[0]?.message_no ?? 0;
export const lastNo = (window: Window): number => window.items.at(-1)?.message_no ?? 0;

/** Union by number. What is already here came by an event or an earlier page and has since been kept current, so it stays. */
function union(present: readonly Message[], page: readonly Message[]): readonly Message[] {
  if (present.length === 0) return page;
  const known = new Set(present.map((message) => message.message_no));
  const added = page.filter((message) => !known.has(message.message_no));
  if (added.length === 0) return present;
  return [...present, ...added].sort((a, b) => a.message_no - b.message_no);
}

/** A live message; nothing happens when the run does not reach the head or holds it already. */
export function append(window: Window, message: Message): Window {
  if (window.moreAfter || (window.items.length > 0 && message.message_no <= lastNo(window))) return window;
  return { ...window, items: [...window.items, message] };
}

export type Side = "newest" | "before" | "after" | "around";

/** A page of history. `more` tells whether the server has further items in the page's direction. */
export function addPage(
  window: Window,
  side: Side,
  page: readonly Message[],
  more: boolean,
  headNo: number,
): Window {
  const items = union(window.items, page);
  const reachesHead = (items.at(-1)?.message_no ?? 0) >= headNo;
  switch (side) {
    case "newest":
      return { items, moreBefore: more, moreAfter: !reachesHead && items.length > 0, ready: true };
    case "before":
      return { ...window, items, moreBefore: more && page.length > 0 };
    case "after":
      return { ...window, items, moreAfter: page.length > 0 && !reachesHead };
    case "around":
      return {
        items,
        moreBefore: (items[0]?.message_no ?? 1) > 1,
        moreAfter: !reachesHead && items.length > 0,
        ready: true,
      };
  }
}

export function change(window: Window, no: number, with_: (message: Message) => Message): Window {
  const at = window.items.findIndex((message) => message.message_no === no);
  const message = window.items[at];
  if (message === undefined) return window;
  return { ...window, items: window.items.with(at, with_(message)) };
}

/** Drops everything stored at or after `seq`. */
export function truncate(window: Window, seq: number): Window {
  return { ...window, items: window.items.filter((message) => message.seq < seq) };
}

/** Whether every message in (no, head] is loaded, so that counting here is exact. */
export function coversAfter(window: Window, no: number): boolean {
  return window.ready && !window.moreAfter && (!window.moreBefore || firstNo(window) <= no + 1);
}
