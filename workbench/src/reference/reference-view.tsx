// The interfaces of the hub: HTTP, the WebSocket, and the methods of the contract.

import { useState } from "preact/hooks";
import { useResource } from "../components/resource.js";
import { useTitle } from "../components/title.js";
import type { ViewProps } from "../main.js";
import { address } from "../router.js";
import { routes, rpcs } from "./documents.js";
import { knownIds, type Known } from "./examples.js";
import { HttpOperation } from "./http-operation.js";
import { CallPath } from "./prose.js";
import { RpcMethod } from "./rpc-method.js";
import { WebSocketPage } from "./websocket-page.js";

const PARTS = { http: "HTTP", websocket: "WebSocket", rpc: "RPCs" } as const;
type Part = keyof typeof PARTS;

interface Entry {
  id: string;
  group: string;
  name: string;
}

const ENTRIES: Record<Part, Entry[]> = {
  http: routes.map(({ operationId, tags, method, path }) => ({
    id: operationId,
    group: tags[0] ?? "",
    name: `${method} ${path}`,
  })),
  websocket: [],
  rpc: rpcs.services.flatMap((service) =>
    service.methods.map((method) => ({
      id: `${service.name}.${method.name}`,
      group: service.name,
      name: method.name,
    })),
  ),
};

function link(part: Part, id?: string): string {
  return `#/api?${new URLSearchParams(id === undefined ? { part } : { part, name: id }).toString()}`;
}

export default function ReferenceView(_: ViewProps) {
  const { query } = address.value;
  const given = query.get("part") ?? "http";
  useTitle("API");
  const part: Part = given in PARTS ? (given as Part) : "http";
  const entries = ENTRIES[part];
  const chosen = entries.find(({ id }) => id === query.get("name")) ?? entries[0];
  const known = useResource(knownIds, []).value ?? {};
  return (
    <section class="view">
      <div class="row">
        <h1>API</h1>
        <nav class="tabs" aria-label="Interfaces">
          {Object.entries(PARTS).map(([each, name]) => (
            <a href={link(each as Part)} aria-current={each === part ? "page" : undefined}>
              {name}
            </a>
          ))}
        </nav>
        <span class="quiet">
          as <a href="/openapi.json">OpenAPI</a> and <a href="/asyncapi.json">AsyncAPI</a>
        </span>
      </div>
      {part === "websocket" ? (
        <WebSocketPage known={known} />
      ) : (
        <div class="reference">
          <Index key={part} part={part} entries={entries} chosen={chosen?.id} />
          <Chosen part={part} id={chosen?.id} known={known} />
        </div>
      )}
    </section>
  );
}

function Chosen({ part, id, known }: { part: Part; id: string | undefined; known: Known }) {
  if (part === "http") {
    const route = routes.find(({ operationId }) => operationId === id);
    return route === undefined ? null : <HttpOperation route={route} known={known} />;
  }
  const service = rpcs.services.find(({ name }) => id?.startsWith(`${name}.`));
  const method = service?.methods.find(({ name }) => id === `${service.name}.${name}`);
  return service === undefined || method === undefined ? null : (
    <RpcMethod service={service} method={method} known={known} />
  );
}

function Index({ part, entries, chosen }: { part: Part; entries: Entry[]; chosen: string | undefined }) {
  const [wanted, setWanted] = useState("");
  const found = entries.filter(({ name, id }) => `${name} ${id}`.toLowerCase().includes(wanted.toLowerCase()));
  const groups = [...new Set(found.map(({ group }) => group))];
  return (
    <nav class="stack reference-index" aria-label="Calls">
      <label class="field">
        Find
        <input type="search" value={wanted} onInput={({ currentTarget: { value } }) => setWanted(value)} />
      </label>
      {found.length === 0 && <p class="quiet">No call has this in its name.</p>}
      {groups.map((group) => (
        <section key={group}>
          <h2>{group}</h2>
          <ul class="call-list">
            {found
              .filter((each) => each.group === group)
              .map(({ id, name }) => (
                <li key={id}>
                  <a href={link(part, id)} aria-current={id === chosen ? "true" : undefined}>
                    <code>
                      {name.split(" ").map((word) => (
                        <span>
                          <CallPath path={word} />{" "}
                        </span>
                      ))}
                    </code>
                  </a>
                </li>
              ))}
          </ul>
        </section>
      ))}
    </nav>
  );
}
