// `WebSocket` and `fetch` for the client, which show the wire what arrives. The client itself connects again.

import { Blocks } from "../../../clients/typescript/src/sse.js";
import { messageOf } from "../components/states.js";
import { binaryMessage, jsonMessage, sseMessage } from "./decoding.js";
import { reading } from "./pace.js";
import type { Connection, Wire } from "./wire.js";

/** A WebSocket that is read as a stream, so that the browser stops the sender while nobody reads. */
interface SocketStream {
  opened: Promise<{ readable: ReadableStream<string | ArrayBuffer | Uint8Array>; writable: WritableStream<string> }>;
  closed: Promise<{ closeCode?: number; reason?: string }>;
  close(options?: { closeCode?: number; reason?: string }): void;
}
declare const WebSocketStream: (new (url: string, options: { protocols: string[]; signal?: AbortSignal }) => SocketStream) | undefined;

/** Whether this browser can read a WebSocket slowly. */
export const canSlowSockets = typeof WebSocketStream !== "undefined";

function afterOf(url: string): number {
  return Number(new URL(url, location.href).searchParams.get("after") ?? 0);
}

/** The constructor that the client uses in place of `WebSocket`. */
export function observedWebSocket(wire: Wire): unknown {
  const Observed = canSlowSockets ? StreamedSocket : PlainSocket;
  return class extends Observed {
    constructor(url: string, protocols: string[]) {
      super(wire, url, protocols);
    }
  };
}

abstract class Socket {
  binaryType = "arraybuffer";
  onmessage: ((message: { data: unknown }) => void) | null = null;
  onclose: ((closed: { code: number; reason: string }) => void) | null = null;
  onerror: (() => void) | null = null;
  protected readonly connection: Connection;

  constructor(
    protected readonly wire: Wire,
    url: string,
    protocols: string[],
  ) {
    const form = protocols[0] === "ideo.v1" ? "WebSocket, JSON" : "WebSocket, binary";
    this.connection = wire.open(form, afterOf(url), () => this.ended(1006, "", "cut by you"));
  }

  abstract send(text: string): void;
  abstract close(): void;

  protected take(data: string | ArrayBuffer): void {
    try {
      const message = typeof data === "string" ? jsonMessage(data) : binaryMessage(new Uint8Array(data));
      this.wire.message(this.connection, message);
    } catch (error) {
      return this.ended(1007, "", `a message cannot be read: ${messageOf(error)}`);
    }
    this.onmessage?.({ data });
  }

  protected ended(code: number, reason: string, why = `closed with ${code} ${reason}`.trimEnd()): void {
    if (this.connection.end !== undefined) return;
    this.wire.end(this.connection, why);
    this.close();
    this.onclose?.({ code, reason });
  }
}

class StreamedSocket extends Socket {
  readonly #stream: SocketStream;
  readonly #stop = new AbortController();
  #writer: WritableStreamDefaultWriter<string> | undefined;

  constructor(wire: Wire, url: string, protocols: string[]) {
    super(wire, url, protocols);
    this.#stream = new WebSocketStream!(url, { protocols });
    void this.#read();
  }

  async #read(): Promise<void> {
    this.#stream.closed.catch(() => {});
    try {
      const { readable, writable } = await this.#stream.opened;
      this.#writer = writable.getWriter();
      this.#writer.closed.catch(() => {});
      for await (const data of reading(readable, this.wire.pace, this.#stop.signal)) this.take(data instanceof Uint8Array ? data.slice().buffer : data);
    } catch {
      // How it ended follows.
    }
    const closed = await this.#stream.closed.catch(() => undefined);
    this.ended(closed?.closeCode ?? 1006, closed?.reason ?? "", closed === undefined ? "broke, or was refused" : undefined);
  }

  send(text: string): void {
    void this.#writer?.write(text).catch(() => {});
  }

  close(): void {
    if (this.connection.end === undefined) this.wire.end(this.connection, "closed by the page");
    this.#stop.abort();
    try {
      this.#stream?.close();
    } catch {
      // Not yet open.
    }
  }
}

class PlainSocket extends Socket {
  readonly #socket: WebSocket;

  constructor(wire: Wire, url: string, protocols: string[]) {
    super(wire, url, protocols);
    this.#socket = new WebSocket(url, protocols);
    this.#socket.binaryType = "arraybuffer";
    this.#socket.onmessage = ({ data }) => this.take(data as string | ArrayBuffer);
    this.#socket.onclose = ({ code, reason }) => this.ended(code, reason);
  }

  send(text: string): void {
    this.#socket.send(text);
  }

  close(): void {
    if (this.connection.end === undefined) this.wire.end(this.connection, "closed by the page");
    this.#socket?.close();
  }
}

/** `fetch` that shows the wire the server-sent events. Other answers pass. */
export function observedFetch(wire: Wire): typeof fetch {
  return async (input, init) => {
    const headers = new Headers(init?.headers);
    if (headers.get("Accept") !== "text/event-stream") return fetch(input, init);
    const stop = new AbortController();
    const signal = init?.signal ? AbortSignal.any([init.signal, stop.signal]) : stop.signal;
    const cut = (): void => stop.abort(new TypeError("the connection was cut"));
    const connection = wire.open("server-sent events", Number(headers.get("Last-Event-ID") ?? 0), cut);
    let answer: Response;
    try {
      answer = await fetch(input, { ...init, signal });
    } catch (error) {
      wire.end(connection, "broke, or could not be opened");
      throw error;
    }
    if (!answer.ok || answer.body === null) {
      wire.end(connection, answer.status === 204 ? "nothing follows (204)" : `refused with ${answer.status}`);
      return answer;
    }
    const body = observedEvents(answer.body, wire, connection, signal);
    return new Response(body, { status: answer.status, headers: answer.headers });
  };
}

function observedEvents(
  body: ReadableStream<Uint8Array>,
  wire: Wire,
  connection: Connection,
  signal: AbortSignal,
): ReadableStream<Uint8Array> {
  const chunks = reading(body, wire.pace, signal);
  const blocks = new Blocks();
  const decoder = new TextDecoder();
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        try {
          const { done, value } = await chunks.next();
          if (done) {
            wire.end(connection, "ended by the hub");
            return controller.close();
          }
          for (const block of blocks.add(decoder.decode(value, { stream: true })))
            wire.message(connection, sseMessage(block));
          controller.enqueue(value);
        } catch (error) {
          wire.end(connection, "broke");
          controller.error(error);
        }
      },
      async cancel() {
        wire.end(connection, "closed by the page");
        await chunks.return();
      },
    },
    { highWaterMark: 0 },
  );
}
