// One call of the HTTP interface: what it takes, what it answers, and a form that makes it.

import { useMemo, useState } from "preact/hooks";
import { Button } from "../components/button.js";
import { messageOf } from "../components/states.js";
import { askToken } from "../hub.js";
import { Command, Outcome, quoted, send, type Answered } from "./answer.js";
import type { Parameter, Route } from "./documents.js";
import { exampleOf, type Known } from "./examples.js";
import { CallPath, Prose, Sentences } from "./prose.js";
import { SchemaTable, typeOf } from "./schema-table.js";

export function HttpOperation({ route, known }: { route: Route; known: Known }) {
  const body = route.requestBody?.content["application/json"]?.schema;
  return (
    <article class="stack">
      <h2>
        <code>
          {route.method} <CallPath path={route.path} />
        </code>
      </h2>
      <Prose text={route.description ?? route.summary} />
      <Example key={route.operationId} route={route} known={known} />
      {body !== undefined && (
        <section class="stack">
          <h3>Body</h3>
          <SchemaTable schema={body} />
        </section>
      )}
      <section class="stack">
        <h3>Responses</h3>
        {Object.entries(route.responses).map(([status, { description, content }]) => (
          <details key={status}>
            <summary>
              {status} <span class="quiet">
                <Sentences text={description ?? ""} />
              </span>
            </summary>
            {Object.entries(content ?? {}).map(([type, { schema }]) => (
              <div key={type}>
                <p class="quiet">{type}</p>
                <SchemaTable schema={schema} />
              </div>
            ))}
          </details>
        ))}
      </section>
    </article>
  );
}

function Example({ route, known }: { route: Route; known: Known }) {
  const parameters = route.parameters ?? [];
  const schema = route.requestBody?.content["application/json"]?.schema;
  const example = useMemo(() => JSON.stringify(exampleOf(schema, known), null, 2), [schema, known]);
  const [values, setValues] = useState<Record<string, string>>({});
  const [text, setText] = useState<string>();
  const [answered, setAnswered] = useState<Answered>();
  const [error, setError] = useState<string>();
  const [busy, setBusy] = useState(false);
  const valueOf = (parameter: Parameter): string =>
    values[parameter.name] ?? (parameter.in === "path" ? (known[parameter.name] ?? "") : "");
  const body = text ?? example;

  const path = route.path.replace(/\{(\w+)\}/g, (whole, name: string) => {
    const parameter = parameters.find((each) => each.name === name);
    return parameter === undefined ? whole : encodeURIComponent(valueOf(parameter));
  });
  const query = new URLSearchParams(
    parameters.flatMap((each) => (each.in === "query" && valueOf(each) !== "" ? [[each.name, valueOf(each)]] : [])),
  ).toString();
  const address = query === "" ? path : `${path}?${query}`;
  const headers: [string, string][] = parameters.flatMap((each): [string, string][] =>
    each.in === "header" && valueOf(each) !== "" ? [[each.name, valueOf(each)]] : [],
  );
  if (schema !== undefined) headers.push(["Content-Type", "application/json"]);

  const call = async (event: Event): Promise<void> => {
    event.preventDefault();
    setBusy(true);
    setError(undefined);
    try {
      setAnswered(
        await send(address, {
          method: route.method,
          headers: [...headers, ["Authorization", `Bearer ${await askToken()}`]],
          body: schema === undefined ? null : body,
        }),
      );
    } catch (failure) {
      setError(messageOf(failure));
    } finally {
      setBusy(false);
    }
  };
  const command = [
    `curl -sS -X ${route.method} "$IDEO_URL"${quoted(address)}`,
    `-H "Authorization: Bearer $IDEO_TOKEN"`,
    ...headers.map(([name, value]) => `-H ${quoted(`${name}: ${value}`)}`),
    ...(schema === undefined ? [] : [`-d ${quoted(body)}`]),
  ].join(" \\\n  ");
  return (
    <form class="stack example" onSubmit={call} aria-label="Example">
      {parameters.map((each) => (
        <label class="field" key={`${each.in} ${each.name}`}>
          <span>
            <code>{each.name}</code> <span class="quiet">{typeOf(each.schema)}</span>
          </span>
          <input
            value={valueOf(each)}
            required={each.in === "path"}
            spellcheck={false}
            autocomplete="off"
            onInput={({ currentTarget: { value } }) => setValues({ ...values, [each.name]: value })}
          />
          <Prose text={each.description ?? each.schema.description} />
        </label>
      ))}
      {schema !== undefined && (
        <label class="field">
          Body
          <textarea
            rows={Math.min(16, body.split("\n").length + 1)}
            value={body}
            spellcheck={false}
            onInput={({ currentTarget: { value } }) => setText(value)}
          />
        </label>
      )}
      <div class="row">
        <Button kind="primary" type="submit" busy={busy ? "Waiting for the answer …" : undefined}>
          Send
        </Button>
        {route.method !== "GET" && <span class="quiet">Sending it changes the data of the hub.</span>}
      </div>
      <Command text={command} />
      <Outcome error={error} answered={answered} />
    </form>
  );
}
