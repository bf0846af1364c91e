// One connection over a WebSocket.

import { fromBinary, fromJson, type JsonValue } from "@bufbuild/protobuf";
import { ConnectionLost, MAX_MESSAGE_BYTES, SHARE_PREFIX, type FollowOptions } from "./connection.js";
import { FaultError, readable } from "./fault.js";
import {
  WatchRefinementResponseSchema,
  type WatchRefinementResponse,
} from "./gen/ide_orchestrator/v1/refinement_pb.js";
import type { HttpClient } from "./http.js";
import type { Ticket } from "./resources.js";

/** The part of a WebSocket that is used, in browsers, Node and the package `ws`. */
interface Socket {
  binaryType: string;
  onmessage: ((message: { data: unknown }) => void) | null;
  onclose: ((closed: { code: number; reason: string }) => void) | null;
  onerror: ((event: { error?: unknown }) => void) | null;
  send(text: string): void;
  close(): void;
}

/**
 * Messages that wait for a slow caller may have this many bytes; then the connection is given up, and the next one
 * goes on from the cursor: the journal is the queue. Far below a page's memory.
 */
const MAX_WAITING_BYTES = 64 << 20;
/** A new token is sent this long before the old one ends; after half its time if that is shorter. */
const RENEW_MS = 60_000;
/**
 * Further ones not more often, whatever the clocks say: by one that is ahead, each new token would have ended. The hub
 * takes a token for 30 s after its end.
 */
const LEAST_RENEWAL_MS = 10_000;
/** The longest delay of a timer. */
const MAX_TIMER_MS = 2 ** 31 - 1;

/**
 * The messages of one connection, which is given up when none came for so long. Returns when the journal has ended; throws
 * ConnectionLost, ProblemError, FaultError.
 */
export async function* websocketMessages(
  http: HttpClient,
  threadId: string,
  after: number,
  options: FollowOptions,
  silenceMs: number,
): AsyncGenerator<WatchRefinementResponse, void, undefined> {
  if (http.WebSocket === undefined)
    throw new TypeError("there is no WebSocket here: give one in the options, or use sse");
  const Constructor = http.WebSocket as new (url: string, protocols: string[], options: object) => Socket;
  const token = await http.token();
  const protocols = [options.format === "json" ? "ideo.v1" : "ideo.v1.proto"];
  let path = `/api/ws/refinements/${encodeURIComponent(threadId)}`;
  let query: object = { after, max_message_bytes: MAX_MESSAGE_BYTES }; // whole events
  if (options.ticket === undefined && token?.startsWith(SHARE_PREFIX)) {
    protocols.push(`bearer.${token}`); // no ticket is issued for a share link
  } else {
    const request = { body: { thread_id: threadId }, signal: options.signal };
    const ticket = await (options.ticket?.() ?? http.json<Ticket>("POST", "/api/ws/tickets", request));
    [path = path] = String(ticket.websocket_url).split("?");
    // After the hub's address, anything else would name another host: it would get the ticket, and the next token.
    if (!path.startsWith("/")) throw new FaultError("the server is not a hub: its ticket is for no path");
    query = { ...query, ticket: ticket.ticket };
  }
  options.signal?.throwIfAborted();
  // The options are those of the package `ws`; the platform's WebSocket has a limit of its own, if any.
  const limit = { maxPayload: MAX_MESSAGE_BYTES };
  const socket = new Constructor(http.url(path, query).replace(/^http/, "ws"), protocols, limit);
  socket.binaryType = "arraybuffer";
  yield* new Incoming(socket, http, options, token, silenceMs).messages();
}

/** What a socket received and the caller has not yet taken. */
class Incoming {
  #waiting: (string | ArrayBuffer)[] = [];
  #bytes = 0;
  #closed: { code: number; reason: string; silent?: boolean } | undefined;
  #fault: FaultError | undefined;
  #wake: () => void = () => {};
  #silence: ReturnType<typeof setTimeout> | undefined;
  #renewal: ReturnType<typeof setTimeout> | undefined;

  constructor(
    private readonly socket: Socket,
    private readonly http: HttpClient,
    private readonly options: FollowOptions,
    private token: string | undefined,
    private readonly silenceMs: number,
  ) {
    socket.onmessage = ({ data }) => this.#receive(data as string | ArrayBuffer);
    socket.onclose = ({ code, reason }) => this.#end(code, reason);
    socket.onerror = ({ error }) => {
      // The package `ws` says so. Otherwise a close follows.
      if ((error as { code?: unknown } | undefined)?.code === "WS_ERR_UNSUPPORTED_MESSAGE_LENGTH") this.#tooLarge();
    };
    this.#heard();
  }

  async *messages(): AsyncGenerator<WatchRefinementResponse, void, undefined> {
    const abort = (): void => this.#end(1000, "aborted");
    this.options.signal?.addEventListener("abort", abort, { once: true });
    try {
      for (;;) {
        this.options.signal?.throwIfAborted();
        const data = this.#waiting.shift();
        if (data !== undefined) {
          this.#bytes -= sizeOf(data);
          yield readable(() => parse(data));
        } else if (this.#fault !== undefined) {
          throw this.#fault;
        } else if (this.#closed === undefined) {
          await new Promise<void>((resolve) => (this.#wake = resolve));
        } else if (this.#closed.code === 1000) {
          return;
        } else {
          throw new ConnectionLost(this.#closed.reason, this.#closed.code, this.#closed.silent);
        }
      }
    } finally {
      this.options.signal?.removeEventListener("abort", abort);
      this.#end(1000, "");
    }
  }

  #receive(data: string | ArrayBuffer): void {
    if (this.#closed !== undefined) return;
    this.#heard();
    if (this.#renewal === undefined) this.#renew();
    if (lengthOf(data) > MAX_MESSAGE_BYTES) return this.#tooLarge();
    this.#waiting.push(data);
    this.#bytes += sizeOf(data);
    if (this.#bytes > MAX_WAITING_BYTES && this.#waiting.length > 1) this.#end(1006, "the caller reads slowly");
    this.#wake();
  }

  #tooLarge(): void {
    this.#fault = new FaultError(`the hub sent a message of more than ${MAX_MESSAGE_BYTES} bytes`);
    this.#end(1009, this.#fault.message);
  }

  #heard(): void {
    clearTimeout(this.#silence);
    const reason = `nothing was received for ${this.silenceMs / 1000} s`;
    this.#silence = setTimeout(() => this.#end(1006, reason, true), this.silenceMs);
  }

  /** The end of the connection, at once: a dead peer does not answer a close. */
  #end(code: number, reason: string, silent = false): void {
    if (this.#closed !== undefined) return;
    this.#closed = { code, reason, silent };
    clearTimeout(this.#silence);
    clearTimeout(this.#renewal);
    this.socket.close();
    this.#wake();
  }

  /** Send a new token in time, so that the stream need not be opened again. Where that fails, it is. */
  #renew(leastMs = 0): void {
    const endsAt = this.token === undefined ? undefined : expiryOf(this.token);
    if (endsAt === undefined) return;
    const left = Math.max(endsAt - Date.now(), 0);
    const wait = Math.min(Math.max(left > RENEW_MS ? left - RENEW_MS : left / 2, leastMs), MAX_TIMER_MS);
    this.#renewal = setTimeout(async () => {
      const renewed = await this.http.token(this.token).catch(() => undefined);
      if (renewed === undefined || renewed === this.token || this.#closed !== undefined) return;
      this.token = renewed;
      this.socket.send(JSON.stringify({ type: "auth", token: renewed }));
      this.#renew(LEAST_RENEWAL_MS);
    }, wait);
  }
}

/** The least that it has on the wire. */
function lengthOf(data: string | ArrayBuffer): number {
  return typeof data === "string" ? data.length : data.byteLength;
}

/** What it has in memory. */
function sizeOf(data: string | ArrayBuffer): number {
  return typeof data === "string" ? 2 * data.length : data.byteLength;
}

function parse(data: string | ArrayBuffer): WatchRefinementResponse {
  if (typeof data !== "string") return fromBinary(WatchRefinementResponseSchema, new Uint8Array(data));
  return fromJson(WatchRefinementResponseSchema, JSON.parse(data) as JsonValue, { ignoreUnknownFields: true });
}

/** When a JWT ends, in milliseconds since 1970; undefined for other tokens. */
function expiryOf(token: string): number | undefined {
  try {
    const claims: unknown = JSON.parse(atob(token.split(".")[1]!.replaceAll("-", "+").replaceAll("_", "/")));
    const { exp } = claims as { exp?: unknown };
    return typeof exp === "number" ? exp * 1000 : undefined;
  } catch {
    return undefined;
  }
}
