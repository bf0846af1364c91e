// Follow a refinement to its end, over as many connections as it takes.

import { Backoff, pause } from "./backoff.js";
import { ConnectionLost, LONGEST_SILENCE_MS, SHARE_PREFIX, SILENCE_MS, type FollowOptions } from "./connection.js";
import { FaultError } from "./fault.js";
import { ProblemError, StreamClosedError, UnreachableError } from "./errors.js";
import type { Event } from "./gen/ide_orchestrator/v1/event_pb.js";
import type { WatchRefinementResponse } from "./gen/ide_orchestrator/v1/refinement_pb.js";
import type { HttpClient } from "./http.js";
import { sseMessages } from "./sse.js";
import { websocketMessages } from "./websocket.js";

/** Connecting again does not help after these: what was sent is too large, the request is wrong, or not allowed. */
const FINAL_CLOSES = new Set([1009, 4400, 4403, 4404, 4410]);

/** Events in a row that may come again. A hub repeats those of a few messages at most, after a reconnection. */
const MAX_REPEATS = 10_000;

/**
 * The events of a refinement after the cursor, each once and in order, until the terminal event. Connects again
 * whenever a connection breaks. Throws ProblemError when the hub refuses, StreamClosedError, FaultError, or
 * the reason of an aborted signal.
 */
export async function* follow(
  http: HttpClient,
  threadId: string,
  options: FollowOptions = {},
): AsyncGenerator<Event, void, undefined> {
  const { signal } = options;
  const backoff = new Backoff();
  const cursor = new Cursor(options.after ?? 0, (await http.token())?.startsWith(SHARE_PREFIX) ?? false);
  let repeats = 0;
  let silenceMs = SILENCE_MS;
  for (;;) {
    let lost: Error;
    let heard = false;
    try {
      for await (const message of messages(http, threadId, cursor.after, options, silenceMs)) {
        heard = true;
        if (message.kind.case === "hello") options.onConnected?.(message.kind.value.lastSeq);
        if (message.kind.case === "heartbeat" && message.kind.value.progress)
          options.onProgress?.(message.kind.value.progress);
        if (message.kind.case !== "batch") continue;
        for (const event of message.kind.value.events) {
          if (!cursor.accepts(event)) {
            if (++repeats > MAX_REPEATS) throw new FaultError("the hub sends the same events again and again");
            continue;
          }
          repeats = 0;
          silenceMs = SILENCE_MS;
          backoff.reset();
          yield event;
          if (event.kind.case === "terminal") return;
        }
      }
      return;
    } catch (error) {
      signal?.throwIfAborted();
      if (error instanceof ConnectionLost && error.silent) silenceMs = Math.min(2 * silenceMs, LONGEST_SILENCE_MS);
      lost = await reasonOf(error, heard, http, threadId, cursor.after, signal);
    }
    const ms = backoff.next(lost instanceof ProblemError ? lost.retryAfterMs : 0);
    options.onReconnect?.(lost, ms);
    await pause(ms, signal);
  }
}

/** The messages of one connection, until the journal ends. Throws ConnectionLost when the connection does. */
function messages(
  http: HttpClient,
  threadId: string,
  after: number,
  options: FollowOptions,
  silenceMs: number,
): AsyncIterable<WatchRefinementResponse> {
  const transport = options.transport ?? (http.WebSocket === undefined ? "sse" : "websocket");
  return transport === "sse"
    ? sseMessages(http, threadId, after, options)
    : websocketMessages(http, threadId, after, options, silenceMs);
}

/** The last seq, and the check that no event is missing or comes twice. */
class Cursor {
  #missing = 0;

  /** @param jumps Whether the first event may be a later one: a share link begins at its own cursor. */
  constructor(
    public after: number,
    private jumps: boolean,
  ) {}

  /** Whether the event is the next one; false for one that was delivered before. Throws when one is missing. */
  accepts(event: Event): boolean {
    if (event.seq <= this.after) return false;
    if (event.seq > this.after + 1 && !this.jumps) {
      const missing = this.after + 1;
      // Another connection may have it. When that misses it too, the caller must know.
      if (this.#missing === missing) throw new StreamClosedError(1002, `event ${missing} is missing`);
      this.#missing = missing;
      throw new ConnectionLost(`event ${missing} is missing`);
    }
    this.jumps = false;
    this.after = event.seq;
    return true;
  }
}

/**
 * Why a connection ended, when another one makes sense. Throws the error otherwise. Browsers hide why a WebSocket
 * was refused, so a page of events is read: its answer says it.
 */
async function reasonOf(
  error: unknown,
  heard: boolean,
  http: HttpClient,
  threadId: string,
  after: number,
  signal: AbortSignal | undefined,
): Promise<Error> {
  let reason = error;
  if (error instanceof ConnectionLost) {
    const final = FINAL_CLOSES.has(error.code);
    if (http.hasToken && (final || !heard)) {
      try {
        const path = `/api/refinements/${encodeURIComponent(threadId)}/events`;
        const query = { after, limit: 1 };
        await http.once("GET", path, { query, signal }, async (answer) => answer.body?.cancel());
      } catch (problem) {
        signal?.throwIfAborted();
        reason = problem;
      }
    }
    if (final && reason === error) throw new StreamClosedError(error.code, error.message);
  }
  if (reason instanceof ConnectionLost) return reason;
  if (reason instanceof UnreachableError && reason.temporary) return reason;
  // A fault of the hub may be gone on the next connection.
  if (reason instanceof ProblemError && (reason.temporary || reason.status === 500)) return reason;
  throw reason;
}
