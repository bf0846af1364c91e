// A proposal that several people, or several windows, look at: each learns what another one has decided.

import { useEffect, useRef } from "preact/hooks";
import { hub } from "../hub.js";

/** How often another person's decisions are looked for, in milliseconds. */
const EVERY_MS = 3000;
const channel = new BroadcastChannel("ideo.proposals");

/** Tell the other windows of this browser that a proposal is another one now. */
export function proposalChanged(id: string): void {
  channel.postMessage(id);
}

/** Call `onChange` when the proposal has another etag than the one that the view shows. */
export function useProposalChanges(id: string, etag: string | undefined, onChange: () => void): void {
  const latest = useRef({ etag, onChange });
  latest.current = { etag, onChange };
  useEffect(() => {
    const stop = new AbortController();
    let asking = false;
    const look = async (): Promise<void> => {
      if (asking || document.hidden || latest.current.etag === undefined) return;
      asking = true;
      try {
        const now = await hub.proposals.get(id, { view: "basic" }, { signal: stop.signal });
        if (latest.current.etag !== undefined && now.etag !== latest.current.etag) latest.current.onChange();
      } catch {
        // The view itself shows what is wrong with its next call.
      } finally {
        asking = false;
      }
    };
    const heard = ({ data }: MessageEvent): void => {
      if (data === id) void look();
    };
    const timer = setInterval(() => void look(), EVERY_MS);
    const visible = (): void => void look();
    channel.addEventListener("message", heard);
    document.addEventListener("visibilitychange", visible);
    return () => {
      stop.abort();
      clearInterval(timer);
      channel.removeEventListener("message", heard);
      document.removeEventListener("visibilitychange", visible);
    };
  }, [id]);
}
