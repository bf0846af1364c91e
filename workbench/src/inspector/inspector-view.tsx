// Every event of a run as it arrives, over the transport of choice.

import { useEffect, useState } from "preact/hooks";
import { Button } from "../components/button.js";
import { Badge, type Tone } from "../components/badge.js";
import { useResource } from "../components/resource.js";
import { useTitle } from "../components/title.js";
import { askToken, hub } from "../hub.js";
import type { ViewProps } from "../main.js";
import { address, replaceQuery } from "../router.js";
import { ConnectionList } from "./connection-list.js";
import { Controls } from "./controls.js";
import { EventTable } from "./event-table.js";
import { Inspection, TRANSPORTS, type State, type Transport } from "./inspection.js";

const STATES: Record<State, [Tone, string]> = {
  connecting: ["warn", "connecting"],
  following: ["busy", "connected"],
  ended: ["good", "ended"],
  stopped: ["neutral", "stopped"],
  failed: ["bad", "failed"],
};

function transportOf(name: string | null): Transport {
  return name !== null && name in TRANSPORTS ? (name as Transport) : "ws-json";
}

export default function InspectorView({ params }: ViewProps) {
  const threadId = params["thread"]!;
  useTitle("Inspector");
  const { query } = address.value;
  const [transport, setTransport] = useState(transportOf(query.get("transport")));
  const [after, setAfter] = useState(Math.max(0, Math.floor(Number(query.get("after") ?? 0)) || 0));
  const [round, setRound] = useState(0);
  const [inspection, setInspection] = useState<Inspection>();
  const [selected, setSelected] = useState<number>();
  const info = useResource((signal) => hub.info({ signal }), []);

  useEffect(() => {
    // A slow reader stays one with the next stream.
    const started = new Inspection(threadId, transport, after, askToken, inspection?.wire.pace.bytesPerSecond);
    setInspection(started);
    setSelected(undefined);
    replaceQuery(after === 0 ? { transport } : { transport, after: String(after) });
    return () => started.stop();
    // `after` counts when the stream begins, and not while a number is entered.
  }, [threadId, transport, round]);

  return (
    <section class="view inspector">
      <div class="row">
        <h1 class="grow">Inspector</h1>
        <a href={`#/runs/${encodeURIComponent(threadId)}`} class="button">
          Run
        </a>
      </div>
      <form
        class="row"
        onSubmit={(event) => {
          event.preventDefault();
          setRound(round + 1);
        }}
      >
        <label class="inline">
          Transport
          <select value={transport} onChange={({ currentTarget: { value } }) => setTransport(transportOf(value))}>
            {Object.entries(TRANSPORTS).map(([value, name]) => (
              <option value={value}>{name}</option>
            ))}
          </select>
        </label>
        <label class="inline">
          Cursor
          <input
            type="number"
            min={0}
            max={4294967295}
            value={after}
            onInput={({ currentTarget: { value } }) => setAfter(Math.max(0, Math.floor(Number(value)) || 0))}
          />
        </label>
        <Button type="submit">Start again</Button>
      </form>
      {inspection !== undefined && (
        <Stream
          key={inspection}
          inspection={inspection}
          development={info.value?.features.includes("development_controls") ?? false}
          selected={selected}
          onSelect={setSelected}
        />
      )}
    </section>
  );
}

interface StreamProps {
  inspection: Inspection;
  development: boolean;
  selected: number | undefined;
  onSelect: (index: number | undefined) => void;
}

function Stream({ inspection, development, selected, onSelect }: StreamProps) {
  const { wire } = inspection;
  const version = inspection.version.value;
  const [tone, word] = STATES[inspection.state.value];
  const chosen = selected === undefined ? undefined : wire.arrivals[selected];
  return (
    <>
      <Controls inspection={inspection} development={development} />
      <p class="row" role="status">
        <Badge tone={tone}>{word}</Badge>
        <span>cursor {wire.cursor}</span>
        <Order inspection={inspection} />
      </p>
      {inspection.error.value !== undefined && (
        <div class="notice bad" role="alert">
          <p>{inspection.error.value}</p>
        </div>
      )}
      <div class="inspector-panes">
        <div class="inspector-events">
          {wire.dropped > 0 && <p class="quiet">The first {wire.dropped} events are no longer kept here.</p>}
          <EventTable wire={wire} version={version} selected={selected} onSelect={onSelect} />
          <p class="quiet">Message 1.2 is the second of connection 1, with the size of the whole message: one message may have several events.</p>
        </div>
        <div class="inspector-side">
          <section>
            <h2>Connections</h2>
            <ConnectionList connections={wire.connections} version={version} />
          </section>
          <section>
            <div class="row">
              <h2>Event {chosen?.seq}</h2>
              {chosen !== undefined && (
                <Button kind="quiet" onClick={() => onSelect(undefined)}>
                  Back to the newest
                </Button>
              )}
            </div>
            {chosen === undefined ? (
              <p class="quiet">Choose an event to see it as JSON.</p>
            ) : (
              <pre class="payload" tabIndex={0} aria-label={`Event ${chosen.seq} as JSON`}>
                {JSON.stringify(chosen.payload, null, 2)}
              </pre>
            )}
          </section>
        </div>
      </div>
    </>
  );
}

/** Whether each event came once and in order. */
function Order({ inspection: { wire } }: { inspection: Inspection }) {
  if (wire.arrivals.length === 0) return null;
  const reconnects = wire.connections.length - 1;
  const over = reconnects === 0 ? "over one connection" : `over ${reconnects + 1} connections`;
  return (
    <span>
      {wire.faults === 0
        ? `${wire.arrivals.length + wire.dropped} events, each once and in order, ${over}`
        : `${wire.faults} events out of order, ${over}`}
    </span>
  );
}
