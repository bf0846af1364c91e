// A long list of which only the visible rows are on the page. All rows have the same height.

import type { ComponentChildren, JSX } from "preact";
import { useLayoutEffect, useRef, useState } from "preact/hooks";

interface WindowedProps extends Omit<JSX.HTMLAttributes<HTMLDivElement>, "children"> {
  count: number;
  /** Pixels. */
  rowHeight: number;
  row: (index: number) => ComponentChildren;
  /** Whether the last row stays in view when rows are added, until a person scrolls up. */
  tail?: boolean;
  /** The row that is brought into view whenever this changes. */
  shown?: number | undefined;
}

const BEYOND = 8;

export function Windowed({ count, rowHeight, row, tail = false, shown, ...rest }: WindowedProps) {
  const box = useRef<HTMLDivElement>(null);
  const atEnd = useRef(true);
  const [view, setView] = useState({ top: 0, height: 400 });

  useLayoutEffect(() => {
    const element = box.current!;
    const measure = (): void => setView({ top: element.scrollTop, height: element.clientHeight });
    const observer = new ResizeObserver(measure);
    observer.observe(element);
    return () => observer.disconnect();
  }, []);
  useLayoutEffect(() => {
    if (tail && atEnd.current) box.current!.scrollTop = count * rowHeight;
  }, [tail, count, rowHeight]);
  useLayoutEffect(() => {
    if (shown === undefined) return;
    const element = box.current!;
    const top = shown * rowHeight;
    if (top < element.scrollTop) element.scrollTop = top;
    else if (top + rowHeight > element.scrollTop + element.clientHeight)
      element.scrollTop = top + rowHeight - element.clientHeight;
  }, [shown, rowHeight]);

  const onScroll = (): void => {
    // A list that is removed may still have an event under way.
    if (box.current === null) return;
    const { scrollTop, clientHeight, scrollHeight } = box.current;
    atEnd.current = scrollTop + clientHeight >= scrollHeight - rowHeight;
    setView({ top: scrollTop, height: clientHeight });
  };
  const first = Math.max(0, Math.floor(view.top / rowHeight) - BEYOND);
  const end = Math.min(count, Math.ceil((view.top + view.height) / rowHeight) + BEYOND);
  const rows = [];
  for (let index = first; index < end; index++) rows.push(row(index));
  // Heights are set through the CSSOM, which the content security policy allows.
  return (
    <div {...rest} ref={box} onScroll={onScroll}>
      <div role="presentation" style={{ height: first * rowHeight }} />
      {rows}
      <div role="presentation" style={{ height: Math.max(0, count - end) * rowHeight }} />
    </div>
  );
}
