// The reference server of Durable Streams with its store of files: `node server.js FOLDER` serves on a free port and
// prints its address.
import { DurableStreamTestServer } from "@durable-streams/server";

const server = new DurableStreamTestServer({ host: "127.0.0.1", port: 0, dataDir: process.argv[2], compression: false });
console.log(`peer ${await server.start()}`);
