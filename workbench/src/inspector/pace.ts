// Reading slowly: the next bytes are taken when the pace allows, so that the network stops the sender meanwhile.

export interface Pace {
  /** Undefined: at full speed. 0: nothing. */
  bytesPerSecond: number | undefined;
  /** Has an event `change` when the pace does. */
  changed: EventTarget;
}

export function setPace(pace: Pace, bytesPerSecond: number | undefined): void {
  pace.bytesPerSecond = bytesPerSecond;
  pace.changed.dispatchEvent(new Event("change"));
}

/** Wait until so many bytes more may be read. */
export async function paced(pace: Pace, bytes: number, signal: AbortSignal): Promise<void> {
  const began = performance.now();
  while (pace.bytesPerSecond !== undefined && !signal.aborted) {
    const left =
      pace.bytesPerSecond === 0 ? Infinity : (bytes * 1000) / pace.bytesPerSecond - (performance.now() - began);
    if (left <= 0) return;
    await changeOr(pace, Math.min(left, 2 ** 31 - 1), signal);
  }
}

function changeOr(pace: Pace, ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      clearTimeout(timer);
      pace.changed.removeEventListener("change", done);
      signal.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    pace.changed.addEventListener("change", done);
    signal.addEventListener("abort", done);
  });
}

/** The chunks of a stream, each read when the pace allows. Leaving the loop cancels the stream. */
export async function* reading<T extends { length?: number; byteLength?: number }>(
  stream: ReadableStream<T>,
  pace: Pace,
  signal: AbortSignal,
): AsyncGenerator<T, void, undefined> {
  const reader = stream.getReader();
  const stop = (): void => void reader.cancel(signal.reason).catch(() => {});
  signal.addEventListener("abort", stop);
  try {
    let last = 1;
    for (;;) {
      await paced(pace, last, signal);
      const { done, value } = await reader.read();
      signal.throwIfAborted();
      if (done) return;
      last = value.byteLength ?? value.length ?? 1;
      yield value;
    }
  } finally {
    signal.removeEventListener("abort", stop);
    stop();
  }
}
