import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";

interface DetailsProps {
  summary: ComponentChildren;
  /** Makes the content, which is on the page only while it is open. */
  children: () => ComponentChildren;
}

/** A line that opens to more. */
export function Details({ summary, children }: DetailsProps) {
  const [open, setOpen] = useState(false);
  return (
    <details class="details" open={open} onToggle={({ currentTarget }) => setOpen(currentTarget.open)}>
      <summary>{summary}</summary>
      {open && <div class="inner">{children()}</div>}
    </details>
  );
}
