// One method of the contract, called by Connect.

import { useMemo, useState, useRef, useEffect } from "preact/hooks";
import { Button } from "../components/button.js";
import { messageOf } from "../components/states.js";
import { askToken } from "../hub.js";
import { END, enveloped, Envelopes } from "../inspector/envelopes.js";
import { Command, Outcome, quoted, send, shown, type Answered } from "./answer.js";
import { rpcs, type Method, type Service } from "./documents.js";
import { requestOf, type Known } from "./examples.js";
import { Prose } from "./prose.js";

/** Messages of a stream that are shown. */
const MAX_MESSAGES = 20;
const MAX_DEPTH = 5;

export function RpcMethod({ service, method, known }: { service: Service; method: Method; known: Known }) {
  return (
    <article class="stack">
      <h2>
        <code>
          {service.name}/{method.name}
        </code>
      </h2>
      <Prose text={method.comment} />
      <Example key={method.name} service={service} method={method} known={known} />
      <section class="stack">
        <h3>{method.request}</h3>
        <Message name={method.request} depth={0} />
      </section>
      <section class="stack">
        <h3>
          {method.stream && "Stream of "}
          {method.response}
        </h3>
        <Message name={method.response} depth={0} />
      </section>
    </article>
  );
}

function Message({ name, depth }: { name: string; depth: number }) {
  const message = rpcs.messages[name];
  if (message === undefined) return null;
  if (message.fields.length === 0) return <p class="quiet">No fields.</p>;
  return (
    <dl class="members">
      {message.fields.map(({ name: field, type, comment, oneof }) => (
        <div key={field}>
          <dt>
            <code>{field}</code> <span class="quiet">{type}</span>
            {oneof !== undefined && <span class="quiet"> · one of {oneof}</span>}
          </dt>
          <dd>
            <Prose text={comment} />
            {depth < MAX_DEPTH && <Type name={type.replace(/^(repeated|optional) |^map<.*, (.*)>$/, "$2")} depth={depth} />}
          </dd>
        </div>
      ))}
    </dl>
  );
}

function Type({ name, depth }: { name: string; depth: number }) {
  const values = rpcs.enums[name]?.values;
  if (values === undefined && rpcs.messages[name] === undefined) return null;
  return (
    <details>
      <summary>{name}</summary>
      <Prose text={(rpcs.enums[name] ?? rpcs.messages[name])?.comment} />
      {values === undefined ? (
        <Message name={name} depth={depth + 1} />
      ) : (
        <dl class="members">
          {values.map((value) => (
            <div key={value.name}>
              <dt>
                <code>{value.name}</code>
              </dt>
              <dd>
                <Prose text={value.comment} />
              </dd>
            </div>
          ))}
        </dl>
      )}
    </details>
  );
}

function Example({ service, method, known }: { service: Service; method: Method; known: Known }) {
  const example = useMemo(() => JSON.stringify(requestOf(method.request, known), null, 2), [method, known]);
  const [text, setText] = useState<string>();
  const [answered, setAnswered] = useState<Answered>();
  const [messages, setMessages] = useState<string[]>([]);
  const [error, setError] = useState<string>();
  const [busy, setBusy] = useState(false);
  const stop = useRef(new AbortController());
  useEffect(() => () => stop.current.abort(), []);
  const body = text ?? example;
  const path = `/${rpcs.package}.${service.name}/${method.name}`;

  const call = async (event: Event): Promise<void> => {
    event.preventDefault();
    setBusy(true);
    setError(undefined);
    setMessages([]);
    setAnswered(undefined);
    stop.current = new AbortController();
    try {
      const authorization = `Bearer ${await askToken()}`;
      if (method.stream) await read(path, body, authorization, stop.current, setMessages);
      else {
        const headers = { "Content-Type": "application/json", Authorization: authorization };
        setAnswered(await send(path, { method: "POST", headers, body }));
      }
    } catch (failure) {
      if (!stop.current.signal.aborted) setError(messageOf(failure));
    } finally {
      setBusy(false);
    }
  };
  const command = method.stream
    ? `buf curl --protocol connect -H "Authorization: Bearer $IDEO_TOKEN" \\\n  -d ${quoted(body)} "$IDEO_URL"${path} --schema proto`
    : `curl -sS "$IDEO_URL"${path} \\\n  -H "Authorization: Bearer $IDEO_TOKEN" -H 'Content-Type: application/json' \\\n  -d ${quoted(body)}`;
  return (
    <form class="stack example" onSubmit={call} aria-label="Example">
      <label class="field">
        Request
        <textarea
          rows={Math.min(16, body.split("\n").length + 1)}
          value={body}
          spellcheck={false}
          onInput={({ currentTarget: { value } }) => setText(value)}
        />
      </label>
      <div class="row">
        <Button kind="primary" type="submit" busy={busy ? "Waiting for the answer …" : undefined}>
          Call
        </Button>
        {busy && method.stream && <Button onClick={() => stop.current.abort()}>Stop</Button>}
        {!method.reads && !method.stream && <span class="quiet">Calling it changes the data of the hub.</span>}
      </div>
      <Command text={command} />
      <Outcome error={error} messages={messages} answered={answered} />
    </form>
  );
}

/** Read the first messages of a stream, and its end. */
async function read(
  path: string,
  body: string,
  authorization: string,
  stop: AbortController,
  show: (messages: string[]) => void,
): Promise<void> {
  const headers = { "Content-Type": "application/connect+json", Authorization: authorization };
  const answer = await fetch(path, { method: "POST", headers, body: enveloped(body), signal: stop.signal });
  if (!answer.ok || answer.body === null) throw new Error(`refused with ${answer.status}: ${await answer.text()}`);
  const reader = answer.body.getReader();
  const envelopes = new Envelopes();
  const found: string[] = [];
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    for (const { flags, data } of envelopes.add(value)) {
      found.push(`${flags === END ? "the end: " : ""}${shown(new TextDecoder().decode(data))}`);
      show([...found]);
      if (flags === END) return;
      if (found.length === MAX_MESSAGES) {
        show([...found, "Further messages are not shown."]);
        return stop.abort();
      }
    }
  }
}
