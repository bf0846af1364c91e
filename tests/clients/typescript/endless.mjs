// Calls servers whose answers do not end, and prints how each call ends.
// node --expose-gc endless.mjs HTTP_OF_200 HTTP_OF_403 WEBSOCKET

import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";
import { Hub } from "@bizmatters/ide-orchestrator";

const { WebSocket } = await import(pathToFileURL(process.env.WS));
const [good, bad, sockets] = process.argv.slice(2);
const open = (url, options) => new Hub({ url, token: "t", maxResponseBytes: 1 << 20, maxAttempts: 2, ...options });
const ticket = async () => ({ ticket: "t", websocket_url: "/ws?ticket=t" });

async function follow(hub, options) {
  const onReconnect = (error) => console.log("connected again:", error.message);
  for await (const _ of hub.refinements.follow("thread", { onReconnect, ...options }));
}

const calls = {
  call: () => open(good).me(),
  write: () => open(good).workflows.create({ name: "demo" }),
  content: () => open(good).proposals.content("id", "0"),
  patch: () => open(good).proposals.patch("id"),
  list: async () => {
    for await (const _ of open(good).workflows.list());
  },
  refusal: () => open(bad).me(),
  "sse refused": () => follow(open(bad), { transport: "sse" }),
  "sse as JSON": () => follow(open(good), { transport: "sse" }),
  "sse one event": () => follow(open(`${good}/line`), { transport: "sse" }),
  "sse no event": () => follow(open(`${good}/lines`), { transport: "sse" }),
  "ws package, in pieces": () => follow(open(`${sockets}/pieces`, { WebSocket }), { ticket }),
  "ws package, binary": () => follow(open(`${sockets}/large`, { WebSocket }), { ticket }),
  "ws package, unreadable": () => follow(open(`${sockets}/unreadable`, { WebSocket }), { ticket }),
};
// Node has it from version 22 on.
if (globalThis.WebSocket !== undefined) calls["ws of Node"] = () => follow(open(`${sockets}/large`), { ticket });

for (const [name, call] of Object.entries(calls)) {
  const end = await call().then(
    () => "no error",
    (error) => `${error.name}: ${error.message}`,
  );
  console.log(`${name}: ${end}`);
  // What one call leaves behind does not count for the next one.
  gc();
}
// Far less than was sent. The peak that `process.resourceUsage()` has begins with that of the process which started this one.
const peak = Number(/^VmHWM:\s+(\d+) kB$/m.exec(readFileSync("/proc/self/status", "utf8"))[1]);
console.log(peak < 1 << 20 ? "small" : `grew to ${peak} KiB`);
