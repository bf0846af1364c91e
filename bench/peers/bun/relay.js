// A relay on Bun, whose WebSocket server is uWebSockets: `bun relay.js RUNTIME` serves on a free port and prints its address.
// /stream/{thread} has a connection to the runtime for each client, /fan/{thread} one for each thread, and publishes.
const upstreamOf = (thread) => new WebSocket(`ws${process.argv[2].slice("http".length)}/stream/${thread}`);

const rooms = new Map();

function join(thread, client) {
  client.subscribe(thread);
  const members = rooms.get(thread);
  if (members) {
    members.add(client);
    return;
  }
  rooms.set(thread, new Set([client]));
  const upstream = upstreamOf(thread);
  upstream.onmessage = ({ data }) => server.publish(thread, data);
  upstream.onclose = () => {
    const all = rooms.get(thread);
    rooms.delete(thread);
    for (const member of all) member.close(1000);
  };
}

function stream(thread, client) {
  const upstream = upstreamOf(thread);
  upstream.onmessage = ({ data }) => client.send(data);
  upstream.onclose = () => client.close(1000);
}

const server = Bun.serve({
  hostname: "127.0.0.1",
  port: 0,
  fetch(request, self) {
    const [, kind, thread] = new URL(request.url).pathname.split("/");
    if (!self.upgrade(request, { data: { kind, thread } })) return new Response("", { status: 400 });
  },
  websocket: {
    // Otherwise a client that is behind for a moment loses messages.
    backpressureLimit: 1 << 30,
    perMessageDeflate: false,
    open(client) {
      (client.data.kind === "fan" ? join : stream)(client.data.thread, client);
    },
    message() {},
    close(client) {
      rooms.get(client.data.thread)?.delete(client);
    },
  },
});
console.log(`peer http://127.0.0.1:${server.port}`);
