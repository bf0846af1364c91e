// Calls a server that redirects, and prints how each call ends.
// node redirects.mjs HTTP

import { Hub } from "@bizmatters/ide-orchestrator";

const [url] = process.argv.slice(2);
const hub = new Hub({ url, token: "secret-token", maxAttempts: 1 });

async function follow(transport) {
  for await (const _ of hub.refinements.follow("thread", { transport }));
}

const calls = {
  read: () => hub.me(),
  write: () => hub.workflows.create({ name: "demo" }),
  content: () => hub.proposals.content("id", "0"),
  sse: () => follow("sse"),
};
for (const [name, call] of Object.entries(calls)) {
  const end = await call().then(
    () => "no error",
    (error) => `${error.name} ${error.status}`,
  );
  console.log(`${name}: ${end}`);
}
