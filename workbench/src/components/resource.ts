// Something that is read from the hub, and read again on demand.

import { useEffect, useState } from "preact/hooks";

export interface Resource<T> {
  /** Undefined until it is read. The value stays while it is read again. */
  value: T | undefined;
  error: unknown;
  loading: boolean;
  reload: () => void;
  /** Put in place what another call has answered. */
  set: (value: T) => void;
}

/** @param read Called again whenever an entry of `when` changes. */
export function useResource<T>(read: (signal: AbortSignal) => Promise<T>, when: unknown[]): Resource<T> {
  const [state, setState] = useState<{ value?: T; error?: unknown; loading: boolean }>({ loading: true });
  const [round, setRound] = useState(0);
  useEffect(() => {
    const controller = new AbortController();
    setState((before) => ({ ...before, loading: true }));
    read(controller.signal).then(
      (value) => !controller.signal.aborted && setState({ value, loading: false }),
      (error: unknown) => !controller.signal.aborted && setState({ error, loading: false }),
    );
    return () => controller.abort();
  }, [...when, round]);
  return {
    value: state.value,
    error: state.error,
    loading: state.loading,
    reload: () => setRound(round + 1),
    set: (value) => setState({ value, loading: false }),
  };
}

/** All items of a list. */
export async function all<T>(items: AsyncIterable<T>): Promise<T[]> {
  const found: T[] = [];
  for await (const item of items) found.push(item);
  return found;
}
