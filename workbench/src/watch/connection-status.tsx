// How the connection is, and up to which event the page has come.

import { useEffect, useState } from "preact/hooks";
import { Badge } from "../components/badge.js";
import { count } from "../components/format.js";
import type { Connection } from "./followed-run.js";

interface ConnectionStatusProps {
  connection: Connection;
  seq: number;
  reconnects: number;
}

export function ConnectionStatus({ connection, seq, reconnects }: ConnectionStatusProps) {
  return (
    <span class="row" data-connection={connection.is}>
      <State connection={connection} />
      <span class="quiet">
        event <span data-seq={seq}>{count(seq)}</span>
        {reconnects > 0 && ` · connected again ${reconnects === 1 ? "once" : `${reconnects} times`}`}
      </span>
    </span>
  );
}

function State({ connection }: { connection: Connection }) {
  switch (connection.is) {
    case "connecting":
      return <Badge tone="busy">connecting</Badge>;
    case "live":
      return <Badge tone="good">live</Badge>;
    case "lost":
      return <Lost why={connection.why} until={connection.until} />;
    case "ended":
      return <Badge>all events read</Badge>;
    case "failed":
      return <Badge tone="bad">not connected</Badge>;
  }
}

function Lost({ why, until }: { why: string; until: number }) {
  const left = Math.max(0, Math.ceil((until - useNow(250)) / 1000));
  return (
    <Badge tone="warn" title={why}>
      connection lost, next attempt {left === 0 ? "now" : `in ${left} s`}
    </Badge>
  );
}

/** The time, every so often. */
export function useNow(everyMs: number): number {
  const [now, setNow] = useState(Date.now());
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), everyMs);
    return () => clearInterval(timer);
  }, [everyMs]);
  return now;
}
