// What a screen reader says when something changes that it would not notice.

import { effect, signal } from "@preact/signals";
import { address } from "../router.js";

const said = signal("");

// What was said of one page is not on the next one.
let path = address.value.path;
effect(() => {
  if (address.value.path !== path) said.value = "";
  path = address.value.path;
});

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
