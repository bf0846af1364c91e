import type { ComponentChildren } from "preact";

export type Tone = "neutral" | "good" | "bad" | "busy" | "warn";

/** A word with a colour; the word says everything that the colour does. */
export function Badge({ tone = "neutral", title, children }: { tone?: Tone; title?: string; children: ComponentChildren }) {
  return (
    <span class={`badge ${tone}`} title={title}>
      {children}
    </span>
  );
}

const TONES: Record<string, Tone> = {
  queued: "neutral",
  processing: "busy",
  running: "busy",
  awaiting_input: "warn",
  completed: "good",
  accepted: "good",
  failed: "bad",
  rejected: "bad",
  cancelled: "neutral",
  added: "good",
  modified: "busy",
  renamed: "busy",
  deleted: "bad",
};

/** A status of a refinement, a proposal or a file. */
export function StatusBadge({ status }: { status: string }) {
  return <Badge tone={TONES[status] ?? "neutral"}>{status.replaceAll("_", " ")}</Badge>;
}
