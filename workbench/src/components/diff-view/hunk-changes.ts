// The hub's hunks as the changes that the merge component shows, so that what is shown is what is decided about.

import { Change, diff } from "@codemirror/merge";
import type { Text } from "@codemirror/state";
import type { Hunk } from "@bizmatters/ide-orchestrator";

/** Characters of a hunk's two sides that are compared to mark the words that differ. */
const MAX_COMPARED = 20_000;

/** A text by the lines that the hub counts: only line feeds end one, so that a carriage return is seen. */
export function linesOf(text: string): string[] {
  return text.split("\n");
}

/** The start of a line, counted from 1; the end of the text for one beyond it. */
export function lineStart(text: Text, line: number): number {
  return line > text.lines ? text.length : text.line(Math.max(line, 1)).from;
}

/** Where a hunk is in one of the texts, in characters. */
function placeOf(text: Text, first: number, count: number): { from: number; to: number } {
  return { from: lineStart(text, first), to: lineStart(text, first + count) };
}

/** The changes inside the hunks: each one word by word, and none outside of a hunk. */
export function hunkChanges(base: Text, text: Text, hunks: readonly Hunk[]): Change[] {
  return hunks.flatMap((hunk) => {
    const before = placeOf(base, hunk.base_first_line, hunk.base_line_count);
    const after = placeOf(text, hunk.first_line, hunk.line_count);
    const size = before.to - before.from + (after.to - after.from);
    if (before.from === before.to || after.from === after.to || size > MAX_COMPARED)
      return [new Change(before.from, before.to, after.from, after.to)];
    const [removed, added] = [base.sliceString(before.from, before.to), text.sliceString(after.from, after.to)];
    return diff(removed, added, { scanLimit: 500 }).map(
      ({ fromA, toA, fromB, toB }) =>
        new Change(fromA + before.from, toA + before.from, fromB + after.from, toB + after.from),
    );
  });
}

/** Whether the texts have the lines that the hunks name: otherwise the component compares them itself. */
export function fits(base: Text, text: Text, hunks: readonly Hunk[]): boolean {
  return hunks.every(
    (hunk) =>
      hunk.base_first_line + hunk.base_line_count <= base.lines + 1 && hunk.first_line + hunk.line_count <= text.lines + 1,
  );
}
