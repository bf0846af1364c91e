// Pauses between attempts.

const FIRST_MS = 250;
const LONGEST_MS = 10_000;

/** Pauses that grow with each attempt, with full jitter: clients that lost one hub do not come back together. */
export class Backoff {
  #attempt = 0;

  /** Start again with short pauses. */
  reset(): void {
    this.#attempt = 0;
  }

  /** The length of the next pause in milliseconds, at least `least`. */
  next(least = 0): number {
    return least + Math.random() * Math.min(LONGEST_MS, FIRST_MS * 2 ** this.#attempt++);
  }
}

/** Wait. Rejects with the signal's reason when it is aborted. */
export function pause(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    signal?.throwIfAborted();
    const abort = (): void => {
      clearTimeout(timer);
      reject(signal?.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", abort);
      resolve();
    }, ms);
    signal?.addEventListener("abort", abort, { once: true });
  });
}
