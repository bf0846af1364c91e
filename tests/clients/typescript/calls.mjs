// Makes the calls of the corpus with the client, its stubs and fetch: reads a call from each line, prints its outcome.
// node calls.mjs HTTP_ADDRESS GRPC_ADDRESS

import { createInterface } from "node:readline";
import { fromJson, toJson } from "@bufbuild/protobuf";
import { base64Encode } from "@bufbuild/protobuf/wire";
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { createConnectTransport, createGrpcWebTransport } from "@connectrpc/connect-web";
import { Hub, ProblemError } from "@bizmatters/ide-orchestrator";
import * as proto from "@bizmatters/ide-orchestrator/proto";

const [baseUrl, grpc] = process.argv.slice(2);
const transports = {
  "connect-json": createConnectTransport({ baseUrl }),
  "connect-proto": createConnectTransport({ baseUrl, useBinaryFormat: true }),
  "grpc-web": createGrpcWebTransport({ baseUrl }),
  grpc: createGrpcTransport({ baseUrl: `http://${grpc}` }),
};
const bearer = (token) => (token ? { authorization: `Bearer ${token}` } : {});

async function withFetch({ token, method, path, headers, body }) {
  const answer = await fetch(baseUrl + path, { method, headers: { ...headers, ...bearer(token) }, body: body || null });
  return { status: answer.status, headers: received(answer.headers), body: await answer.text() };
}

/** The headers that cases look at: fetch has decoded the body, so that others would be wrong. */
function received(headers) {
  const names = ["content-type", "idempotency-replayed"].filter((name) => headers.has(name));
  return Object.fromEntries(names.map((name) => [name, headers.get(name)]));
}

async function withClient({ token, method, path, headers, body }) {
  const hub = new Hub(token ? { url: baseUrl, token } : { url: baseUrl });
  try {
    return { value: (await hub.call(method, path, { headers, body: body ?? undefined })) ?? {} };
  } catch (error) {
    if (!(error instanceof ProblemError)) throw error;
    return { status: error.status, problem: { ...error.problem, code: error.code, fields: error.problem?.fields } };
  }
}

async function withStub({ over, token, method, message }) {
  const [service, name] = method.replace("/ide_orchestrator.v1.", "").split("/");
  const described = proto[service].methods.find((each) => each.name === name);
  const client = createClient(proto[service], transports[over]);
  try {
    const answer = await client[described.localName](fromJson(described.input, message), { headers: bearer(token) });
    return { message: toJson(described.output, answer) };
  } catch (error) {
    if (!(error instanceof ConnectError)) throw error;
    const code = Code[error.code].replace(/(?<!^)[A-Z]/g, "_$&").toLowerCase();
    const details = error.details.map(({ type, value }) => ({ type, value: base64Encode(value, "std_raw") }));
    return { error: { code, message: error.rawMessage, details } };
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  const call = JSON.parse(line);
  const make = { rest: withFetch, client: withClient }[call.over] ?? withStub;
  console.log(JSON.stringify(await make(call).catch((error) => ({ failure: String(error?.stack ?? error) }))));
}
