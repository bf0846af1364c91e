// Calls a server that lies, and prints how each call ends.
// node lying.mjs HTTP

import { Hub } from "@bizmatters/ide-orchestrator";

const [url] = process.argv.slice(2);
const open = (name, options) => new Hub({ url: `${url}/${name}`, token: "secret-token", maxAttempts: 1, ...options });

async function list(name) {
  for await (const _ of open(name).workflows.list());
}

const connected = [];
/** A WebSocket that only notes where it would connect. */
class Noted {
  constructor(address) {
    connected.push(address);
  }
  close() {}
}

const calls = {
  same: () => list("same"),
  empty: () => list("empty"),
  shape: () => list("shape"),
  cursor: () => list("cursor"),
  nan: () => list("nan"),
  deep: () => list("deep"),
  dense: () => list("dense"),
  null: () => list("null"),
  events: async () => {
    for await (const _ of open("events").refinements.events("thread"));
  },
  blame: () => open("blame").refinements.blame("thread", { path: "/a" }),
  host: () => open("info").grpcUrl(),
  ticket: async () => {
    for await (const _ of open("ticket", { WebSocket: Noted }).refinements.follow("thread"));
  },
};
for (const [name, call] of Object.entries(calls)) {
  const end = await call().then(
    () => "no error",
    (error) => `${error.name}: ${error.message}`,
  );
  console.log(`${name}: ${end}`);
}
console.log(`connected: ${connected.length}`);
console.log(`trusted: ${await open("info").grpcUrl({ trustedHosts: ["GRPC.example.com"] })}`);
const later = await open("later").me().catch((error) => error.retryAfterMs);
console.log(`later: ${later}`);
// It is true: a file of many lines.
let lines = 0;
for await (const _ of open("lines").workflows.list()) lines++;
console.log(`lines: ${lines}`);
