// What a screen reader says when something changes that it would not notice.

import { signal } from "@preact/signals";

const said = signal("");

/** Say a sentence, politely. */
export function announce(text: string): void {
  said.value = text;
}

export function Announcements() {
  return (
    <div class="unseen" role="status" aria-live="polite">
      {said}
    </div>
  );
}
