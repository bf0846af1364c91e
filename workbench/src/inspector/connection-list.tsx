// The connections of a stream, one after another: where each began, what it brought, and how it ended.

import { count, plural, size } from "../components/format.js";
import type { Connection } from "./wire.js";

/** Of more connections only the newest are shown. */
const SHOWN = 50;

export function ConnectionList({ connections }: { connections: Connection[]; version: number }) {
  const shown = connections.slice(-SHOWN).reverse();
  return (
    <ol class="list connections" aria-label="Connections, newest first">
      {connections.length > SHOWN && <li class="quiet">The newest {SHOWN} of {count(connections.length)} connections:</li>}
      {shown.map((each) => (
        <li key={each.number}>
          <strong>
            {each.number}. {each.transport}
          </strong>{" "}
          after {each.after}
          <br />
          {each.first === undefined ? "no events" : `events ${each.first} to ${each.last}`} · {plural(each.messages, "message")} ·{" "}
          {size(each.bytes)}
          <br />
          <span class="quiet">{each.end ?? "open"}</span>
        </li>
      ))}
    </ol>
  );
}
