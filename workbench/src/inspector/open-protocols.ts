// Connect and the durable stream, which the client does not speak: one connection each, and what opens the next one.

import { ProblemError, UnreachableError } from "@bizmatters/ide-orchestrator";
import { Backoff, pause } from "../../../clients/typescript/src/backoff.js";
import { Blocks } from "../../../clients/typescript/src/sse.js";
import { bytesOf, durableMessage, jsonMessage } from "./decoding.js";
import { END, enveloped, Envelopes } from "./envelopes.js";
import type { Connection, Wire } from "./wire.js";

export type TokenSource = (rejected?: string) => string | Promise<string>;

/** One connection, from the wire's cursor. Returns whether the journal has ended; throws when the hub refuses. */
type Read = (
  threadId: string,
  token: string,
  wire: Wire,
  connection: Connection,
  signal: AbortSignal,
) => Promise<boolean>;

/** The hub refused the token. */
class TokenRejected extends Error {}

/** Follow to the end of the journal, over as many connections as it takes. */
export async function followOpen(
  protocol: "connect" | "durable",
  threadId: string,
  token: TokenSource,
  wire: Wire,
  signal: AbortSignal,
): Promise<void> {
  const [name, read] = protocol === "connect" ? (["Connect, JSON", readConnect] as const) : (["durable stream", readDurable] as const);
  const backoff = new Backoff();
  let rejected: string | undefined;
  for (;;) {
    const current = await token(rejected);
    const stop = new AbortController();
    const before = wire.cursor;
    const connection = wire.open(name, before, () => stop.abort());
    let least = 0;
    try {
      if (await read(threadId, current, wire, connection, AbortSignal.any([signal, stop.signal]))) {
        wire.end(connection, "ended by the hub, with the last event");
        return;
      }
      wire.end(connection, "ended by the hub");
    } catch (error) {
      wire.end(connection, signal.aborted ? "closed by the page" : error instanceof Error ? error.message : "broke");
      signal.throwIfAborted();
      if (error instanceof TokenRejected) {
        if (rejected === current) throw error;
        rejected = current;
        continue;
      }
      if (error instanceof ProblemError && !error.temporary && error.status !== 500) throw error;
      if (error instanceof ProblemError) least = error.retryAfterMs ?? 0;
    }
    if (wire.cursor > before) backoff.reset();
    await pause(backoff.next(least), signal);
  }
}

async function opened(path: string, init: RequestInit): Promise<ReadableStream<Uint8Array>> {
  let answer: Response;
  try {
    answer = await fetch(path, init);
  } catch (error) {
    throw new UnreachableError("broke, or could not be opened", { cause: error });
  }
  if (answer.status === 401) throw new TokenRejected("refused with 401");
  if (!answer.ok || answer.body === null) throw await ProblemError.of(answer);
  return answer.body;
}

const readConnect: Read = async (threadId, token, wire, connection, signal) => {
  const body = await opened("/ide_orchestrator.v1.RefinementService/WatchRefinement", {
    method: "POST",
    headers: { "Content-Type": "application/connect+json", Authorization: `Bearer ${token}` },
    body: enveloped(JSON.stringify({ thread_id: threadId, after_seq: wire.cursor })),
    signal,
  });
  const envelopes = new Envelopes();
  const decoder = new TextDecoder();
  for await (const chunk of wire.body(body, signal)) {
    for (const { flags, data } of envelopes.add(chunk)) {
      const text = decoder.decode(data);
      if ((flags & END) === 0) {
        wire.message(connection, jsonMessage(text, data.length + 5));
        continue;
      }
      const { error } = JSON.parse(text) as { error?: { code: string; message?: string } };
      if (error === undefined) return true;
      const why = `ended by the hub: ${error.code}${error.message ? `, ${error.message}` : ""}`;
      if (error.code === "unauthenticated") throw new TokenRejected(why);
      if (["permission_denied", "not_found", "invalid_argument", "out_of_range"].includes(error.code))
        throw new ProblemError(403, undefined, undefined);
      throw new UnreachableError(why);
    }
  }
  throw new UnreachableError("broke");
};

const readDurable: Read = async (threadId, token, wire, connection, signal) => {
  const offset = String(wire.cursor).padStart(10, "0");
  const body = await opened(`/api/refinements/${encodeURIComponent(threadId)}/stream?offset=${offset}&live=sse`, {
    headers: { Authorization: `Bearer ${token}` },
    signal,
  });
  const blocks = new Blocks();
  const decoder = new TextDecoder();
  let closed = false;
  for await (const chunk of wire.body(body, signal)) {
    for (const block of blocks.add(decoder.decode(chunk, { stream: true }))) {
      wire.message(connection, { ...durableMessage(block), bytes: bytesOf(block.data ?? "") });
      if (block.event === "control")
        closed ||= (JSON.parse(block.data ?? "{}") as { streamClosed?: boolean }).streamClosed === true;
    }
  }
  return closed;
};
