// Following one run over a chosen transport, with controls that disrupt it.

import { Hub } from "@bizmatters/ide-orchestrator";
import { signal, type Signal } from "@preact/signals";
import { messageOf } from "../components/states.js";
import { hub } from "../hub.js";
import { observedFetch, observedWebSocket } from "./observed.js";
import { followOpen } from "./open-protocols.js";
import { setPace } from "./pace.js";
import { Wire } from "./wire.js";

export const TRANSPORTS = {
  "ws-json": "WebSocket, JSON",
  "ws-binary": "WebSocket, binary",
  sse: "Server-sent events",
  connect: "Connect, JSON",
  durable: "Durable stream",
} as const;
export type Transport = keyof typeof TRANSPORTS;

export type State = "following" | "connecting" | "ended" | "stopped" | "failed";

/** How long a token is valid that is to end, in seconds. */
const VALID_S = 5;

export class Inspection {
  readonly wire: Wire;
  /** Grows when something has arrived, at most once a frame. */
  readonly version: Signal<number> = signal(0);
  readonly state: Signal<State> = signal("connecting");
  readonly error: Signal<string | undefined> = signal(undefined);
  /** When the token in use ends; undefined for the user's own. */
  readonly tokenEnds: Signal<Date | undefined> = signal(undefined);
  readonly #stop = new AbortController();
  #endingToken: string | undefined;
  /** How many connections there were when that token was issued. */
  #issuedAt = 0;
  #frame = 0;

  constructor(
    readonly threadId: string,
    readonly transport: Transport,
    after: number,
    private readonly userToken: (rejected?: string) => string | Promise<string>,
    bytesPerSecond?: number,
  ) {
    this.wire = new Wire(after, () => this.#changed());
    this.wire.pace.bytesPerSecond = bytesPerSecond;
    void this.#follow(after);
  }

  #changed(): void {
    if (this.#frame !== 0) return;
    // A page in the background has no frames, and shows nothing.
    this.#frame = requestAnimationFrame(() => {
      this.#frame = 0;
      if (this.state.value === "connecting" || this.state.value === "following") {
        const newest = this.wire.connections.at(-1);
        this.state.value = newest?.end === undefined && (newest?.messages ?? 0) > 0 ? "following" : "connecting";
      }
      this.version.value++;
    });
  }

  async #follow(after: number): Promise<void> {
    try {
      if (this.transport === "connect" || this.transport === "durable") {
        await followOpen(this.transport, this.threadId, this.#token, this.wire, this.#stop.signal);
      } else {
        const options = { url: location.origin, token: this.#token, fetch: observedFetch(this.wire) };
        const observed = new Hub({ ...options, WebSocket: observedWebSocket(this.wire) });
        const events = observed.refinements.follow(this.threadId, {
          after,
          signal: this.#stop.signal,
          transport: this.transport === "sse" ? "sse" : "websocket",
          format: this.transport === "ws-json" ? "json" : "binary",
        });
        while (!(await events.next()).done);
      }
      this.state.value = "ended";
    } catch (error) {
      if (this.#stop.signal.aborted) this.state.value = "stopped";
      else {
        this.error.value = messageOf(error);
        this.state.value = "failed";
      }
    }
    this.#changed();
  }

  /** The token that ends soon until the hub rejects it, or ends a stream for it; otherwise the user's own. */
  #token = (rejected?: string): string | Promise<string> => {
    const ending = this.#endingToken;
    if (ending === undefined) return this.userToken(rejected);
    // The client also offers a token for renewal: as long as it is valid, it stays in use.
    const over = (this.tokenEnds.value?.getTime() ?? 0) <= Date.now();
    const closed = this.wire.connections.slice(this.#issuedAt).some(({ end }) => end?.includes("4401"));
    if (!closed && !(over && rejected === ending)) return ending;
    this.#endingToken = undefined;
    this.tokenEnds.value = undefined;
    return this.userToken();
  };

  /** Break the connection off. */
  cut(): void {
    this.wire.cut("cut by you");
  }

  /** @param bytesPerSecond Undefined for full speed, 0 for none. */
  setPace(bytesPerSecond: number | undefined): void {
    setPace(this.wire.pace, bytesPerSecond);
    this.version.value++;
  }

  /** Connect again with a token that the hub soon stops accepting. */
  async letTokenEnd(): Promise<void> {
    const issued = await hub.call<{ token: string; valid_until: string }>("POST", "/api/development/tokens", {
      body: { valid_for_s: VALID_S },
    });
    this.#endingToken = issued.token;
    this.#issuedAt = this.wire.connections.length;
    this.tokenEnds.value = new Date(issued.valid_until);
    this.wire.cut("closed by the page, for a token that ends soon");
  }

  /** Stop the hub and start it again. */
  async restartHub(): Promise<void> {
    await hub.call("POST", "/api/development/restart");
  }

  stop(): void {
    this.#stop.abort();
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
  }
}
