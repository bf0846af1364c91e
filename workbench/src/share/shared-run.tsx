// The events of a run from a link's cursor on, as lines that people read.

import { MessageRole, type Event, type Hub } from "@bizmatters/ide-orchestrator";
import { useEffect, useRef, useState } from "preact/hooks";
import { plural } from "../components/format.js";
import { memo } from "../components/memo.js";
import { printable } from "../components/printable.js";
import { messageOf } from "../components/states.js";

interface Line {
  seq: number;
  what: string;
  text: string;
  /** That of a token. */
  messageId?: string;
}

/** Lines that are shown: older ones are left out. */
const MAX_LINES = 500;
/** Characters of a line, after which its text goes on in the next one: what grows is laid out again and again. */
const MAX_LINE = 2_000;

interface SharedRunProps {
  hub: Hub;
  threadId: string;
  /** Called after the terminal event. */
  onEnd: () => void;
}

export function SharedRun({ hub, threadId, onEnd }: SharedRunProps) {
  const [lines, setLines] = useState<readonly Line[]>([]);
  const [state, setState] = useState("Connecting …");
  const ended = useRef(onEnd);
  ended.current = onEnd;
  useEffect(() => {
    const stop = new AbortController();
    const found: Line[] = [];
    let first: number | undefined;
    let last = 0;
    let frame = 0;
    let over = false;
    const show = (): void => {
      frame = 0;
      setLines(found.slice(-MAX_LINES));
      setState(`Events ${first ?? "…"} to ${last}${over ? ", to the end" : ""}`);
    };
    const follow = async (): Promise<void> => {
      for await (const event of hub.refinements.follow(threadId, { signal: stop.signal })) {
        first ??= event.seq;
        last = event.seq;
        over = event.kind.case === "terminal";
        add(found, event);
        if (found.length > 2 * MAX_LINES) found.splice(0, found.length - MAX_LINES);
        frame ||= requestAnimationFrame(show);
      }
      ended.current();
    };
    follow().catch((error: unknown) => !stop.signal.aborted && setState(messageOf(error)));
    return () => {
      stop.abort();
      cancelAnimationFrame(frame);
    };
  }, [hub, threadId]);
  return (
    <section class="stack" aria-label="Events">
      <h2>Events</h2>
      <p role="status">{state}</p>
      <ol class="list shared-events" tabIndex={0} aria-label="Events, newest last">
        {lines.map((line) => (
          <SharedLine key={line.seq} line={line} />
        ))}
      </ol>
    </section>
  );
}

const SharedLine = memo(({ line: { seq, what, text } }: { line: Line }) => (
  <li>
    <span class="quiet">
      {seq} {what}
    </span>{" "}
    {text}
  </li>
));

/** Add an event; pieces of one message that follow each other are one line. */
function add(lines: Line[], { seq, kind }: Event): void {
  const newest = lines.at(-1);
  switch (kind.case) {
    case "token": {
      const { messageId, role, text, toolCalls } = kind.value;
      const call = toolCalls.map(({ name }) => name).find((name) => name !== "");
      const what = toolCalls.length > 0 ? "calls" : role === MessageRole.TOOL ? "answer" : "text";
      const goesOn = call === undefined && newest?.messageId === messageId;
      if (goesOn && newest.what === what && newest.text.length < MAX_LINE)
        lines[lines.length - 1] = { ...newest, text: newest.text + text };
      else if (!goesOn || text !== "") lines.push({ seq, what, text: printable(call ?? "") + text, messageId });
      return;
    }
    case "stateUpdate": {
      const { messages, todos, files } = kind.value;
      const said = messages.length > 0 && plural(messages.length, "message");
      const paths = files.map(({ path }) => printable(path));
      lines.push({ seq, what: "state", text: [said, todos && "todos", ...paths].filter(Boolean).join(", ") });
      return;
    }
    case undefined:
      return;
    default:
      lines.push({ seq, what: kind.case.replace(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`), text: "" });
  }
}
