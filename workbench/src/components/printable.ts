// Names and texts of strangers, so that what cannot be seen is seen.

/** Controls, marks of direction, and characters without a width: they can make a name look like another. */
const UNSEEN = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Co}\p{Cn}\p{Cs}]/gu;

/** A name on one line, with unseen characters as `\u{202e}`. */
export function printable(name: string): string {
  return name.replace(UNSEEN, (each) => `\\u{${each.codePointAt(0)!.toString(16)}}`);
}
