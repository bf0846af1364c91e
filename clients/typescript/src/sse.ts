// One connection over server-sent events, read with `fetch`: it sets headers, so it needs no ticket.

import { create, fromJson, type JsonValue } from "@bufbuild/protobuf";
import { ConnectionLost, MAX_MESSAGE_BYTES, SILENCE_MS, type FollowOptions } from "./connection.js";
import { FaultError, readable } from "./fault.js";
import { EventSchema } from "./gen/ide_orchestrator/v1/event_pb.js";
import {
  EventBatchSchema,
  WatchRefinementResponseSchema,
  type WatchRefinementResponse,
} from "./gen/ide_orchestrator/v1/refinement_pb.js";
import type { HttpClient } from "./http.js";

/** The messages of one connection. Returns when the journal has ended; throws ConnectionLost, ProblemError, FaultError. */
export async function* sseMessages(
  http: HttpClient,
  threadId: string,
  after: number,
  options: FollowOptions,
): AsyncGenerator<WatchRefinementResponse, void, undefined> {
  const own = new AbortController();
  const signal = options.signal ? AbortSignal.any([options.signal, own.signal]) : own.signal;
  const ticket = await options.ticket?.();
  // A dead connection is one whose answer does not begin, too.
  const deadline = new Deadline(() => own.abort(new ConnectionLost("nothing was received for 20 s")));
  try {
    const answer = await http.request("GET", `/api/refinements/${encodeURIComponent(threadId)}/events`, {
      query: { ticket: ticket?.ticket },
      headers: { Accept: "text/event-stream", "Last-Event-ID": String(after) },
      signal,
    });
    if (answer.status === 204 || answer.body === null) return;
    if (!answer.headers.get("Content-Type")?.startsWith("text/event-stream")) {
      throw new FaultError("the server is not a hub: it does not answer with server-sent events");
    }
    const reader = answer.body
      .pipeThrough(new TextDecoderStream() as unknown as ReadableWritablePair<string, Uint8Array>)
      .getReader();
    const blocks = new Blocks();
    let waiting = 0;
    const lost = (): never => {
      signal.throwIfAborted();
      throw new ConnectionLost("the connection broke");
    };
    for (;;) {
      // The time does not run while the caller is busy: then what was received is waiting here.
      deadline.begin();
      const { done, value } = await reader.read().catch(lost);
      deadline.stop();
      if (done) throw new ConnectionLost("the stream ended");
      waiting += value.length;
      for (const block of blocks.add(value)) {
        waiting = 0;
        yield messageOf(block);
      }
      if (waiting > MAX_MESSAGE_BYTES) {
        throw new FaultError(`the hub sent an event that does not end: it has more than ${MAX_MESSAGE_BYTES} bytes`);
      }
    }
  } finally {
    deadline.stop();
    own.abort();
  }
}

class Deadline {
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(private readonly onOver: () => void) {
    this.begin();
  }

  begin(): void {
    this.stop();
    this.#timer = setTimeout(this.onOver, SILENCE_MS);
  }

  stop(): void {
    clearTimeout(this.#timer);
  }
}

/** The fields of one server-sent event. */
export interface Block {
  id?: string;
  event?: string;
  data?: string;
}

/** Cuts text into server-sent events. Each piece is looked at once, however long a line gets. */
export class Blocks {
  #line: string[] = [];
  #block: Block = {};

  *add(text: string): Generator<Block, void, undefined> {
    const lines = text.split("\n");
    const rest = lines.pop();
    for (const end of lines) {
      const line = this.#line.join("") + end;
      this.#line = [];
      if (line !== "") {
        this.#read(line);
      } else if (this.#block.data !== undefined) {
        yield this.#block;
        this.#block = {};
      }
    }
    if (rest) this.#line.push(rest);
  }

  #read(line: string): void {
    const colon = line.indexOf(": ");
    const name = line.slice(0, colon);
    if (name === "id" || name === "event" || name === "data") this.#block[name] = line.slice(colon + 2);
  }
}

/** A message as a WebSocket has it. Events have an id; `hello`, `heartbeat` and `reconnect` are named only. */
function messageOf({ id, event = "", data = "" }: Block): WatchRefinementResponse {
  return readable(() => parsed(id, event, data));
}

function parsed(id: string | undefined, event: string, data: string): WatchRefinementResponse {
  const json = JSON.parse(data) as JsonValue;
  const options = { ignoreUnknownFields: true };
  if (id === undefined || event === "hello") return fromJson(WatchRefinementResponseSchema, { [event]: json }, options);
  const batch = create(EventBatchSchema, { events: [fromJson(EventSchema, json, options)] });
  return create(WatchRefinementResponseSchema, { kind: { case: "batch", value: batch } });
}
