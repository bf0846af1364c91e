// Keys of the review. They work while something in it has the focus.

const KEYS = [
  ["j", "k", "next and previous hunk"],
  ["n", "p", "next and previous file"],
  ["a", "x", "accept and reject the hunk; again to withdraw it"],
  ["A", "X", "accept and reject the file"],
  ["s", undefined, "side by side or unified"],
] as const;

/** The character of a key that is a shortcut: not in a field, and not with another key. */
export function shortcutOf(event: KeyboardEvent): string | undefined {
  if (event.altKey || event.ctrlKey || event.metaKey || event.defaultPrevented) return undefined;
  const target = event.composedPath()[0];
  if (target instanceof HTMLElement) {
    if (target.matches("input, textarea, select")) return undefined;
    if (target.isContentEditable && target.getAttribute("aria-readonly") !== "true") return undefined;
  }
  return event.key;
}

export function Shortcuts() {
  return (
    <details class="quiet">
      <summary>Keyboard shortcuts</summary>
      <dl class="keys">
        {KEYS.map(([one, other, meaning]) => (
          <div>
            <dt>
              <kbd>{one}</kbd>
              {other !== undefined && (
                <>
                  {" "}
                  <kbd>{other}</kbd>
                </>
              )}
            </dt>
            <dd>{meaning}</dd>
          </div>
        ))}
      </dl>
    </details>
  );
}
