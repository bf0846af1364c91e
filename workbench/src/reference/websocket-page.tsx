// The WebSocket of a refinement, and a form that opens it.

import type { Ticket } from "@bizmatters/ide-orchestrator";
import { useEffect, useRef, useState } from "preact/hooks";
import { Button } from "../components/button.js";
import { messageOf } from "../components/states.js";
import { hub } from "../hub.js";
import { Command, Outcome, shown } from "./answer.js";
import { nameOf, socketDocument } from "./documents.js";
import type { Known } from "./examples.js";
import { CallPath, Prose } from "./prose.js";
import { SchemaTable } from "./schema-table.js";

/** Messages that the example shows. */
const MAX_MESSAGES = 20;

export function WebSocketPage({ known }: { known: Known }) {
  const { refinement } = socketDocument.channels;
  const { messages } = socketDocument.components;
  return (
    <article class="stack">
      <h2>
        <code>
          GET <CallPath path={refinement.address} />
        </code>
      </h2>
      <Prose text={refinement.description} />
      <Example known={known} />
      <section class="stack">
        <h3>Query</h3>
        <SchemaTable schema={refinement.bindings.ws.query} />
        <h3>Headers</h3>
        <SchemaTable schema={refinement.bindings.ws.headers} />
      </section>
      <section class="stack">
        <h3>Subprotocols</h3>
        <dl class="members">
          {Object.entries(refinement["x-subprotocols"]).map(([name, { $ref }]) => {
            const message = messages[nameOf($ref)];
            return (
              <div key={name}>
                <dt>
                  <code>{name}</code>
                </dt>
                <dd>
                  <Prose text={message?.description ?? message?.summary ?? message?.title} />
                </dd>
              </div>
            );
          })}
        </dl>
      </section>
      <section class="stack">
        <h3>Closes</h3>
        <dl class="members">
          {refinement["x-close-codes"].map(({ code, reconnect, problems }) => (
            <div key={code}>
              <dt>
                <code>{code}</code> <span class="quiet">connect again: {reconnect}</span>
              </dt>
              <dd>{problems.join(", ").replaceAll("_", " ")}</dd>
            </div>
          ))}
        </dl>
      </section>
    </article>
  );
}

function Example({ known }: { known: Known }) {
  const [thread, setThread] = useState<string>();
  const [protocol, setProtocol] = useState("ideo.v1");
  const [after, setAfter] = useState("0");
  const [messages, setMessages] = useState<string[]>([]);
  const [state, setState] = useState<string>();
  const [error, setError] = useState<string>();
  const socket = useRef<WebSocket>();
  useEffect(() => () => socket.current?.close(), []);
  const threadId = thread ?? known["thread_id"] ?? "";

  const open = async (event: Event): Promise<void> => {
    event.preventDefault();
    socket.current?.close();
    setError(undefined);
    setMessages([]);
    setState("Getting a ticket …");
    try {
      const ticket = await hub.call<Ticket>("POST", "/api/ws/tickets", { body: { thread_id: threadId } });
      const address = `${location.origin.replace(/^http/, "ws")}${ticket.websocket_url}&after=${encodeURIComponent(after)}`;
      const opened = new WebSocket(address, [protocol]);
      opened.binaryType = "arraybuffer";
      socket.current = opened;
      const found: string[] = [];
      setState("Connecting …");
      opened.onopen = () => setState(`Connected with ${opened.protocol}`);
      opened.onmessage = ({ data }) => {
        found.push(typeof data === "string" ? shown(data) : bytesShown(new Uint8Array(data as ArrayBuffer)));
        setMessages([...found]);
        if (found.length === MAX_MESSAGES) opened.close();
      };
      opened.onclose = ({ code, reason }) => setState(`Closed with ${code} ${reason}`.trimEnd());
    } catch (failure) {
      setState(undefined);
      setError(messageOf(failure));
    }
  };
  const command = [
    `THREAD=${threadId || "…"}`,
    `.venv/bin/python -m websockets "ws\${IDEO_URL#http}/api/ws/refinements/$THREAD?after=${after}&token=$IDEO_TOKEN"`,
  ].join("\n");
  return (
    <form class="stack example" onSubmit={open} aria-label="Example">
      <label class="field">
        <code>thread_id</code>
        <input
          required
          value={threadId}
          spellcheck={false}
          autocomplete="off"
          onInput={({ currentTarget: { value } }) => setThread(value)}
        />
      </label>
      <div class="row">
        <label class="inline">
          Subprotocol
          <select value={protocol} onChange={({ currentTarget: { value } }) => setProtocol(value)}>
            {Object.keys(socketDocument.channels.refinement["x-subprotocols"]).map((name) => (
              <option value={name}>{name}</option>
            ))}
          </select>
        </label>
        <label class="inline">
          after
          <input type="number" min={0} value={after} onInput={({ currentTarget: { value } }) => setAfter(value)} />
        </label>
        <Button kind="primary" type="submit">
          Connect
        </Button>
        {state !== undefined && <span role="status">{state}</span>}
      </div>
      <p class="quiet">Closes after {MAX_MESSAGES} messages. The inspector of a run shows all of them.</p>
      <Command text={command} />
      <Outcome error={error} messages={messages} />
    </form>
  );
}

function bytesShown(bytes: Uint8Array): string {
  const first = Array.from(bytes.subarray(0, 64), (byte) => byte.toString(16).padStart(2, "0")).join(" ");
  return `${bytes.length} bytes: ${first}${bytes.length > 64 ? " …" : ""}`;
}
