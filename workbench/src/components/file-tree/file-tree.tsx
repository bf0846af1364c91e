// Files in their folders. Only the rows that can be seen are on the page, so that 5,000 files are as fast as five.

import type { ComponentChildren } from "preact";
import { useEffect, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import { printable } from "../printable.js";
import { treeRows, type Row, type TreeItem } from "./tree-rows.js";

interface FileTreeProps<T extends TreeItem> {
  /** What the files are, such as "Changed files". */
  label: string;
  items: readonly T[];
  /** The key of the file that is shown. */
  selected?: string | undefined;
  onSelect: (item: T) => void;
  /** What stands behind a file's name, such as a badge. */
  mark?: (item: T) => ComponentChildren;
}

const ROW_HEIGHT = 28;
/** Rows above and below those that can be seen. */
const MARGIN = 10;

export function FileTree<T extends TreeItem>({ label, items, selected, onSelect, mark }: FileTreeProps<T>) {
  const [closed, setClosed] = useState<ReadonlySet<string>>(new Set());
  const [focused, setFocused] = useState<string>();
  const [seen, setSeen] = useState({ top: 0, height: 600 });
  const box = useRef<HTMLDivElement>(null);
  /** The key of the row that gets the focus as soon as it is on the page as the current one. */
  const wanted = useRef<string>();
  const rows = useMemo(() => treeRows(items, closed), [items, closed]);
  const index = rowIndex(rows, focused) ?? rowIndex(rows, selected) ?? 0;

  useLayoutEffect(() => {
    const measure = () => setSeen({ top: box.current!.scrollTop, height: box.current!.clientHeight });
    const observer = new ResizeObserver(measure);
    observer.observe(box.current!);
    return () => observer.disconnect();
  }, []);
  useEffect(() => {
    const at = rowIndex(rows, selected);
    if (at !== undefined) reveal(box.current!, at);
  }, [selected]);
  // Before the next key comes: the row that had the focus may be off the page by now.
  useLayoutEffect(() => {
    if (wanted.current === undefined || wanted.current !== rows[index]?.key) return;
    wanted.current = undefined;
    box.current!.querySelector<HTMLElement>('[tabindex="0"]')?.focus({ preventScroll: true });
  });

  const first = Math.max(0, Math.floor(seen.top / ROW_HEIGHT) - MARGIN);
  const last = Math.min(rows.length, Math.ceil((seen.top + seen.height) / ROW_HEIGHT) + MARGIN);

  const toggle = (key: string, open: boolean) => {
    const next = new Set(closed);
    if (open) next.delete(key);
    else next.add(key);
    setClosed(next);
  };
  const goTo = (at: number) => {
    const row = rows[Math.min(Math.max(at, 0), rows.length - 1)];
    if (row === undefined) return;
    setFocused(row.key);
    wanted.current = row.key;
    reveal(box.current!, rows.indexOf(row));
  };
  const act = (row: Row<T>) => {
    setFocused(row.key);
    if (row.kind === "folder") toggle(row.key, !row.open);
    else onSelect(row.item);
  };
  const onKeyDown = (event: KeyboardEvent) => {
    const row = rows[index];
    if (row === undefined || event.altKey || event.ctrlKey || event.metaKey) return;
    switch (event.key) {
      case "ArrowDown":
        goTo(index + 1);
        break;
      case "ArrowUp":
        goTo(index - 1);
        break;
      case "Home":
        goTo(0);
        break;
      case "End":
        goTo(rows.length - 1);
        break;
      case "ArrowRight":
        if (row.kind === "folder" && !row.open) toggle(row.key, true);
        else goTo(index + 1);
        break;
      case "ArrowLeft":
        if (row.kind === "folder" && row.open) toggle(row.key, false);
        else goTo(parentIndex(rows, index));
        break;
      case "Enter":
      case " ":
        act(row);
        break;
      default:
        return;
    }
    event.preventDefault();
    event.stopPropagation();
  };

  return (
    <div
      ref={box}
      class="tree"
      onScroll={({ currentTarget: { scrollTop, clientHeight } }) => setSeen({ top: scrollTop, height: clientHeight })}
    >
      <div
        role="tree"
        aria-label={label}
        class={rows.some(({ kind }) => kind === "folder") ? "tree-rows nested" : "tree-rows"}
        style={{ height: rows.length * ROW_HEIGHT }}
        onKeyDown={onKeyDown}
      >
        {/* The row that has the focus stays on the page when it is scrolled away. */}
        {rows.map((row, at) =>
          (at < first || at >= last) && at !== index ? null : (
            <div
              key={row.key}
              role="treeitem"
              class={`tree-row ${row.kind}`}
              style={{ top: at * ROW_HEIGHT, paddingLeft: 8 + Math.min(row.level - 1, 12) * 12 }}
              tabIndex={at === index ? 0 : -1}
              aria-level={row.level}
              aria-setsize={row.siblings}
              aria-posinset={row.position}
              aria-expanded={row.kind === "folder" ? row.open : undefined}
              aria-selected={row.kind === "file" ? row.key === selected : undefined}
              title={printable(row.kind === "file" ? row.item.path : row.name)}
              onFocus={() => setFocused(row.key)}
              onClick={() => act(row)}
            >
              <bdi class="tree-name">{printable(row.name)}</bdi>
              {row.kind === "file" && mark?.(row.item)}
            </div>
          ),
        )}
      </div>
    </div>
  );
}

function rowIndex<T extends TreeItem>(rows: Row<T>[], key: string | undefined): number | undefined {
  const found = key === undefined ? -1 : rows.findIndex((row) => row.key === key);
  return found < 0 ? undefined : found;
}

function parentIndex<T extends TreeItem>(rows: Row<T>[], index: number): number {
  const { level } = rows[index]!;
  let at = index;
  while (at > 0 && rows[at]!.level >= level) at--;
  return at;
}

/** Scroll as little as needed to see a row. */
function reveal(box: HTMLElement, at: number): void {
  const top = at * ROW_HEIGHT;
  if (top < box.scrollTop) box.scrollTop = top;
  else if (top + ROW_HEIGHT > box.scrollTop + box.clientHeight) box.scrollTop = top + ROW_HEIGHT - box.clientHeight;
}
