// A run that is followed: its state, shown at most once per frame, and how the connection is.

import { type Event, type Hub } from "@bizmatters/ide-orchestrator";
import { signal } from "@preact/signals";
import { RunState } from "./run-state.js";

export type Connection =
  | { is: "connecting" }
  | { is: "live" }
  /** @param until When the next attempt is made, in milliseconds since 1970. */
  | { is: "lost"; why: string; until: number }
  | { is: "ended" }
  | { is: "failed"; error: unknown };

/** Milliseconds of work after which the page may draw and take input. */
const SLICE_MS = 8;

export class FollowedRun {
  readonly state = new RunState();
  /** Grows when there is more to show. */
  readonly revision = signal(0);
  readonly connection = signal<Connection>({ is: "connecting" });
  readonly progress = signal("");
  /** How often the connection was opened again. */
  readonly reconnects = signal(0);
  #frame = 0;

  constructor(
    private readonly hub: Hub,
    readonly threadId: string,
  ) {}

  /** Follow to the end of the run, or until the signal. */
  async follow(signal: AbortSignal): Promise<void> {
    try {
      await this.#follow(signal);
      this.connection.value = { is: "ended" };
    } catch (error) {
      if (!signal.aborted) this.connection.value = { is: "failed", error };
    } finally {
      this.#show();
    }
  }

  async #follow(signal: AbortSignal): Promise<void> {
    const events = this.hub.refinements.follow(this.threadId, {
      signal,
      onConnected: () => (this.connection.value = { is: "live" }),
      onProgress: (progress) => (this.progress.value = progress),
      onReconnect: (error, pauseMs) => {
        this.reconnects.value++;
        this.connection.value = { is: "lost", why: error.message, until: Date.now() + pauseMs };
      },
    });
    let began = performance.now();
    for await (const event of events) {
      this.#apply(event);
      if (performance.now() - began > SLICE_MS) {
        await nextTask();
        began = performance.now();
      }
    }
  }

  #apply(event: Event): void {
    if (this.state.seq === 0) performance.mark("ideo first event");
    if (event.kind.case === "terminal") performance.mark("ideo last event");
    this.state.apply(event);
    // A page in the background draws no frames, and shows everything once it is looked at.
    this.#frame ||= requestAnimationFrame(() => this.#show());
  }

  #show(): void {
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
    this.revision.value++;
  }
}

const channel = new MessageChannel();
let continuing: (() => void)[] = [];
channel.port1.onmessage = () => {
  for (const next of continuing.splice(0)) next();
};

/** Let everything else run that waits: input, drawing, messages. Unlike a timer, this has no minimum. */
function nextTask(): Promise<void> {
  return new Promise((resolve) => {
    continuing.push(resolve);
    channel.port2.postMessage(undefined);
  });
}
