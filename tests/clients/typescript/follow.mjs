// Follows a refinement as WAY says, prints the seq and the kind of each event, and then the digest of all of them.

import { createHash } from "node:crypto";
import { pathToFileURL } from "node:url";
import { toBinary } from "@bufbuild/protobuf";
import { EventSchema, Hub } from "@bizmatters/ide-orchestrator";

const { IDEO_URL, IDEO_TOKEN, THREAD, WAY, WS } = process.env;
const ways = {
  binary: { transport: "websocket", format: "binary" },
  json: { transport: "websocket", format: "json" },
  sse: { transport: "sse" },
};
const { WebSocket } = await import(pathToFileURL(WS));
const hub = new Hub({ url: IDEO_URL, token: () => IDEO_TOKEN, WebSocket });
const digest = createHash("sha256");
for await (const event of hub.refinements.follow(THREAD, ways[WAY])) {
  digest.update(toBinary(EventSchema, event));
  console.log(event.seq, event.kind.case);
}
console.log("sha256", digest.digest("hex"));
