// The events as they arrived, of which only the visible ones are on the page.

import { useState } from "preact/hooks";
import { size } from "../components/format.js";
import { printable } from "../components/printable.js";
import { Windowed } from "../components/windowed.js";
import type { Arrival, Wire } from "./wire.js";

const ROW = 24;
const COLUMNS = ["Seq", "Event", "Size", "Message", "Latency"] as const;

interface EventTableProps {
  wire: Wire;
  /** Changes when something has arrived. */
  version: number;
  selected: number | undefined;
  /** Called with the index of an arrival. */
  onSelect: (index: number) => void;
}

export function EventTable({ wire, selected, onSelect }: EventTableProps) {
  const [shown, setShown] = useState<number>();
  const { arrivals } = wire;
  const select = (index: number): void => {
    const within = Math.max(0, Math.min(arrivals.length - 1, index));
    if (arrivals.length === 0) return;
    onSelect(within);
    setShown(within);
  };
  const onKeyDown = (event: KeyboardEvent): void => {
    const from = selected ?? -1;
    const page = Math.max(1, Math.floor((event.currentTarget as HTMLElement).clientHeight / ROW) - 1);
    const to: Record<string, number> = {
      ArrowDown: from + 1,
      ArrowUp: from - 1,
      PageDown: from + page,
      PageUp: from - page,
      Home: 0,
      End: arrivals.length - 1,
    };
    if (to[event.key] === undefined) return;
    event.preventDefault();
    select(to[event.key]!);
  };
  return (
    <div class="events" role="grid" aria-label="Events" aria-rowcount={arrivals.length + 1} aria-colcount={COLUMNS.length}>
      <div class="event-row head" role="row" aria-rowindex={1}>
        {COLUMNS.map((name) => (
          <span role="columnheader">{name}</span>
        ))}
      </div>
      <Windowed
        class="event-rows"
        role="rowgroup"
        tabIndex={0}
        aria-label="Events, newest last. Arrow keys choose one."
        aria-activedescendant={selected === undefined ? undefined : `event-${selected}`}
        onKeyDown={onKeyDown}
        count={arrivals.length}
        rowHeight={ROW}
        tail={selected === undefined}
        shown={shown}
        row={(index) => (
          <Row key={index} arrival={arrivals[index]!} index={index} selected={index === selected} onSelect={select} />
        )}
      />
    </div>
  );
}

interface RowProps {
  arrival: Arrival;
  index: number;
  selected: boolean;
  onSelect: (index: number) => void;
}

function Row({ arrival, index, selected, onSelect }: RowProps) {
  const { seq, kind, bytes, message, messageBytes, connection, latency, fault } = arrival;
  return (
    <div
      id={`event-${index}`}
      class={`event-row${selected ? " selected" : ""}${fault === undefined ? "" : " fault"}`}
      role="row"
      aria-rowindex={index + 2}
      aria-selected={selected}
      onClick={() => onSelect(index)}
    >
      <span role="gridcell">{seq}</span>
      <span role="gridcell">
        {printable(kind).replaceAll("_", " ")}
        {fault !== undefined && ` (${fault})`}
      </span>
      <span role="gridcell">{size(bytes)}</span>
      <span role="gridcell" title={`message ${message} of connection ${connection}, ${messageBytes} bytes`}>
        {connection}.{message} · {size(messageBytes)}
      </span>
      <span role="gridcell">{latency === undefined ? "past" : `${Math.round(latency)} ms`}</span>
    </div>
  );
}
