// What the two transports of a stream share.

import type { Ticket } from "./resources.js";

export interface FollowOptions {
  /** The last seq that the caller has: only later events are delivered. 0 by default, for all. */
  after?: number;
  /** Ends the stream: the iterator throws the signal's reason. */
  signal?: AbortSignal;
  /** By default a WebSocket where there is one, otherwise server-sent events, which are read with `fetch`. */
  transport?: "websocket" | "sse";
  /** The form of a WebSocket's messages: `ideo.v1.proto` by default, or `ideo.v1`. */
  format?: "binary" | "json";
  /** Returns a ticket for each connection, on pages that have no token. By default the hub is asked for one. */
  ticket?: () => Promise<Ticket>;
  /** Called when a connection is open, with the seq of the newest event that there is. */
  onConnected?: (lastSeq: number) => void;
  /** The runtime's reports of progress, for people. */
  onProgress?: (progress: string) => void;
  /** Called before each further connection, with why the last one ended. */
  onReconnect?: (error: Error, pauseMs: number) => void;
}

/** The secret of a share link begins with this. */
export const SHARE_PREFIX = "ideo_share_";
/** At most 15 s pass without a message: after longer silence the connection is dead. */
export const SILENCE_MS = 20_000;
/**
 * A WebSocket says nothing of a message until it is whole, and a large one may take longer over a slow network. So each
 * connection that is given up for its silence doubles that of the next one, up to this.
 */
export const LONGEST_SILENCE_MS = 16 * SILENCE_MS;

/**
 * The largest message that is read, which the hub learns: above the largest event, of 16 MiB of JSON and more. Of
 * server-sent events it counts the bytes without a whole event.
 */
export const MAX_MESSAGE_BYTES = 64 << 20;

/** A connection ended before the journal did; another one continues from the cursor. */
export class ConnectionLost extends Error {
  override readonly name = "ConnectionLost";

  /** @param code That of a WebSocket's close; 1006 when there was none. @param silent Whether nothing was received. */
  constructor(
    message: string,
    readonly code = 1006,
    readonly silent = false,
  ) {
    super(message);
  }
}
