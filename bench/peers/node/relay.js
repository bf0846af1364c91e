// A relay on Node with ws, as one would write it: `node relay.js RUNTIME` serves on a free port and prints its address.
// /stream/{thread} has a connection to the runtime for each client, /fan/{thread} one for each thread.
import { createServer } from "node:http";
import WebSocket, { WebSocketServer } from "ws";

const upstreamOf = (thread) =>
  new WebSocket(`ws${process.argv[2].slice("http".length)}/stream/${thread}`, { perMessageDeflate: false });

const rooms = new Map();

function join(thread, client) {
  let members = rooms.get(thread);
  if (!members) {
    members = new Set();
    rooms.set(thread, members);
    const upstream = upstreamOf(thread);
    upstream.on("message", (text) => {
      for (const member of members) member.send(text, { binary: false });
    });
    upstream.on("close", () => {
      rooms.delete(thread);
      for (const member of members) member.close(1000);
    });
  }
  members.add(client);
  client.on("close", () => members.delete(client));
}

function stream(thread, client) {
  const upstream = upstreamOf(thread);
  upstream.on("message", (text) => client.send(text, { binary: false }));
  upstream.on("close", () => client.close(1000));
  client.on("close", () => upstream.close());
}

const server = createServer();
new WebSocketServer({ server, perMessageDeflate: false }).on("connection", (client, request) => {
  const [, kind, thread] = request.url.split("/");
  (kind === "fan" ? join : stream)(thread, client);
});
server.listen(0, "127.0.0.1", 4096, () => console.log(`peer http://127.0.0.1:${server.address().port}`));
