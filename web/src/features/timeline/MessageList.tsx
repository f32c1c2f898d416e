/** The virtual list: only what is near the view is in the document; history grows at the top without moving what is read. */
import { useVirtualizer } from "@tanstack/react-virtual";
import type { Ref } from "react";
import { useCallback, useEffect, useImperativeHandle, useLayoutEffect, useRef, useState } from "react";
import { strings } from "../../lib/strings.ts";
import { RowView } from "./RowView.tsx";
import type { Row } from "./rows.ts";

/** A first guess of a line's height in pixels; measuring replaces it. */
const ROW_ESTIMATE = 56;
/** This close to the end counts as reading the latest. */
const END_THRESHOLD = 80;
/** Lines drawn beyond the view on either side. */
const OVERSCAN = 8;
/** This many lines from the edge the next page is asked for. */
const LOAD_AHEAD = 12;

/** Frames the first placing may take before reading goes on wherever it is. */
const SETTLE_FRAMES = 20;

export interface ListHandle {
  toEnd(): void;
}

export interface MessageListProps {
  readonly rows: readonly Row[];
  readonly named: boolean;
  /** The message the address names: shown in the middle at first, and marked. */
  readonly focusNo: number | null;
  readonly atStart: boolean;
  readonly onNearStart: () => void;
  readonly onNearEnd: () => void;
  readonly onAtEnd: (atEnd: boolean) => void;
  readonly ref: Ref<ListHandle>;
}

const numberOf = (row: Row | undefined): number | null =>
  row?.said.is === "message" ? row.said.message.message_no : null;

export function MessageList(props: MessageListProps) {
  const { rows, named, focusNo, atStart, onNearStart, onNearEnd, onAtEnd, ref } = props;
  const scroller = useRef<HTMLDivElement>(null);
  const placed = useRef(false);
  const pinned = useRef(true);
  const [settled, setSettled] = useState(false);
  const list = useVirtualizer({
    count: rows.length,
    getScrollElement: () => scroller.current,
    estimateSize: () => ROW_ESTIMATE,
    getItemKey: (index) => rows[index]?.key ?? index,
    anchorTo: "end",
    followOnAppend: true,
    scrollEndThreshold: END_THRESHOLD,
    overscan: OVERSCAN,
  });
  const items = list.getVirtualItems();
  const firstIndex = items[0]?.index ?? 0;
  const lastIndex = items.at(-1)?.index ?? 0;

  useImperativeHandle(ref, () => ({ toEnd: () => list.scrollToEnd() }), [list]);

  // Once, when there is something to show: the named message, else the first unread one, else the end.
  useLayoutEffect(() => {
    if (placed.current || rows.length === 0) return;
    placed.current = true;
    const focusAt = focusNo === null ? -1 : rows.findIndex((row) => numberOf(row) === focusNo);
    const unreadAt = rows.findIndex((row) => row.opensUnread);
    if (focusAt >= 0) list.scrollToIndex(focusAt, { align: "center" });
    else if (unreadAt > 0) list.scrollToIndex(unreadAt, { align: "start" });
    else list.scrollToEnd();
    const target = focusAt >= 0 ? focusAt : unreadAt > 0 ? unreadAt : rows.length - 1;
    // Further pages wait until the view is where it should be: an index means another line once history is put before it.
    const arrive = (frames: number) => {
      const inView = list.range !== null && list.range.startIndex <= target && target <= list.range.endIndex;
      requestAnimationFrame(() => (inView || frames === 0 ? setSettled(true) : arrive(frames - 1)));
    };
    arrive(SETTLE_FRAMES);
  }, [rows, focusNo, list]);

  const look = useCallback(() => {
    const view = scroller.current;
    if (view === null || !placed.current) return;
    pinned.current = view.scrollHeight - view.scrollTop - view.clientHeight <= END_THRESHOLD;
    onAtEnd(pinned.current);
  }, [onAtEnd]);

  // A growing composer or a phone's keyboard takes space from below: whoever read the end goes on reading the end.
  useEffect(() => {
    const view = scroller.current;
    if (view === null) return;
    const observer = new ResizeObserver(() => {
      if (placed.current && pinned.current) list.scrollToEnd();
    });
    observer.observe(view);
    return () => observer.disconnect();
  }, [list]);

  // Others' messages may come in before own ones that still wait: the end is then no newer line, and must be kept in view all the same.
  useLayoutEffect(() => {
    if (settled && pinned.current && rows.length > 0) list.scrollToEnd();
  }, [settled, rows, list]);

  useEffect(() => {
    if (!settled) return;
    look();
    if (firstIndex < LOAD_AHEAD) onNearStart();
    if (lastIndex > rows.length - LOAD_AHEAD) onNearEnd();
  }, [settled, firstIndex, lastIndex, rows, look, onNearStart, onNearEnd]);

  return (
    <div
      className="scroller"
      ref={scroller}
      onScroll={look}
      role="log"
      aria-live="off"
      aria-label={strings.timeline.label}
      // biome-ignore lint/a11y/noNoninteractiveTabindex: without focus nobody could scroll it by keyboard
      tabIndex={0}
    >
      <div className="scroller-rows" style={{ height: list.getTotalSize() }}>
        {items.map((item) => {
          const row = rows[item.index];
          if (row === undefined) return null;
          return (
            <div
              key={item.key}
              ref={list.measureElement}
              data-index={item.index}
              className="scroller-row"
              style={{ transform: `translateY(${item.start}px)` }}
            >
              <RowView
                row={row}
                named={named}
                focused={focusNo !== null && numberOf(row) === focusNo}
                begins={atStart && item.index === 0}
              />
            </div>
          );
        })}
      </div>
    </div>
  );
}
