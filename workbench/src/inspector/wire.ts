// What arrives on the wire, connection by connection, and what a person may do to a connection.

import { reading, type Pace } from "./pace.js";

/** An event as it arrived. */
export interface Arrival {
  seq: number;
  kind: string;
  /** Bytes of the event alone, in the form of its transport. */
  bytes: number;
  /** Milliseconds between the hub's time of the event and its arrival; undefined for one of the past. */
  latency: number | undefined;
  connection: number;
  /** The number of its message on its connection, and that message's bytes. */
  message: number;
  messageBytes: number;
  /** What is wrong with its place: events are missing before it, or it came before. */
  fault: "gap" | "repeated" | undefined;
  /** The event as JSON. */
  payload: unknown;
}

/** One connection of a stream. */
export interface Connection {
  number: number;
  transport: string;
  after: number;
  events: number;
  messages: number;
  bytes: number;
  first: number | undefined;
  last: number | undefined;
  /** When it was opened, in milliseconds since 1970. */
  opened: number;
  /** How it ended; undefined while it is open. */
  end: string | undefined;
}

export interface WireEvent {
  seq: number;
  kind: string;
  bytes: number;
  time: number;
  payload: unknown;
}

/** A message, decoded: events, or another part of a stream. */
export interface WireMessage {
  kind: string;
  bytes: number;
  events: WireEvent[];
  /** Of a hello: the last event of the journal when the connection began. */
  lastSeq?: number | undefined;
}

/** Arrivals that are kept for the table. */
export const MAX_ARRIVALS = 50_000;
/** Of a larger event only a note is kept. */
const MAX_PAYLOAD = 64 << 10;

/** Everything that arrives, in order. Calls `changed` after each change. */
export class Wire {
  readonly arrivals: Arrival[] = [];
  readonly connections: Connection[] = [];
  /** Arrivals that are no longer kept. */
  dropped = 0;
  /** Arrivals that were not the next event. */
  faults = 0;
  /** Whether the last event of the run has arrived. */
  over = false;
  /** The last seq that arrived. */
  cursor: number;
  readonly pace: Pace = { bytesPerSecond: undefined, changed: new EventTarget() };
  /** The last event of the journal when the connection began; undefined where the transport does not say it. */
  #past: number | undefined;
  #cut: (() => void) | undefined;
  #cutBy: string | undefined;

  constructor(
    after: number,
    private readonly changed: () => void,
  ) {
    this.cursor = after;
  }

  /** A connection begins. @param cut Breaks it off. */
  open(transport: string, after: number, cut: () => void): Connection {
    const connection: Connection = {
      number: this.connections.length + 1,
      transport,
      after,
      events: 0,
      messages: 0,
      bytes: 0,
      first: undefined,
      last: undefined,
      opened: Date.now(),
      end: undefined,
    };
    this.connections.push(connection);
    this.#past = undefined;
    this.#cut = cut;
    this.#cutBy = undefined;
    this.changed();
    return connection;
  }

  message(connection: Connection, message: WireMessage, now = Date.now()): void {
    connection.messages++;
    connection.bytes += message.bytes;
    if (message.lastSeq !== undefined) this.#past = message.lastSeq;
    for (const event of message.events) this.#arrive(connection, message, event, now);
    this.changed();
  }

  #arrive(connection: Connection, message: WireMessage, event: WireEvent, now: number): void {
    const past = this.#past === undefined ? event.time < connection.opened : event.seq <= this.#past;
    const fault = event.seq <= this.cursor ? "repeated" : event.seq > this.cursor + 1 ? "gap" : undefined;
    if (fault !== undefined) this.faults++;
    this.cursor = Math.max(this.cursor, event.seq);
    this.over ||= event.kind === "terminal";
    connection.events++;
    connection.first ??= event.seq;
    connection.last = event.seq;
    this.arrivals.push({
      seq: event.seq,
      kind: event.kind,
      bytes: event.bytes,
      latency: past ? undefined : now - event.time,
      connection: connection.number,
      message: connection.messages,
      messageBytes: message.bytes,
      fault,
      payload: event.bytes > MAX_PAYLOAD ? `${event.bytes} bytes, which are not kept here` : event.payload,
    });
    // Dropped in large steps: each moves all that stay.
    if (this.arrivals.length > MAX_ARRIVALS * 1.25) {
      const surplus = this.arrivals.length - MAX_ARRIVALS;
      this.arrivals.splice(0, surplus);
      this.dropped += surplus;
    }
  }

  end(connection: Connection, why: string): void {
    connection.end ??= this.#cutBy ?? (this.over ? "ended, with the last event" : why);
    this.#cut = undefined;
    this.changed();
  }

  /** Whether there is a connection to cut. */
  get canCut(): boolean {
    return this.#cut !== undefined;
  }

  /** Break the connection off, as a network does. */
  cut(why: string): void {
    this.#cutBy = why;
    this.#cut?.();
  }

  /** The bytes of a body, read at the pace, with each chunk shown to `take` as it arrives. */
  body(body: ReadableStream<Uint8Array>, signal: AbortSignal): AsyncGenerator<Uint8Array, void, undefined> {
    return reading(body, this.pace, signal);
  }
}
