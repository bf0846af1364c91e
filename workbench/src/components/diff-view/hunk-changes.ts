// The hub's hunks as the chunks that the merge component shows, so that what is shown is what is decided about.

import { Chunk, presentableDiff, type Change } from "@codemirror/merge";
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

/** Where a hunk is in one of the texts: from the start of its first line to after the line feed of its last one. */
function placeOf(text: Text, first: number, count: number): { from: number; to: number } {
  const from = lineStart(text, first);
  return { from, to: count === 0 ? from : text.line(first + count - 1).to + 1 };
}

/** A chunk for each hunk, with the words that differ. */
export function hunkChunks(base: Text, text: Text, hunks: readonly Hunk[]): Chunk[] {
  return hunks.map((hunk) => {
    const before = placeOf(base, hunk.base_first_line, hunk.base_line_count);
    const after = placeOf(text, hunk.first_line, hunk.line_count);
    const words = changedWords(base.sliceString(before.from, before.to), text.sliceString(after.from, after.to));
    return new Chunk(words, before.from, before.to, after.from, after.to);
  });
}

function changedWords(removed: string, added: string): readonly Change[] {
  // Where all words are new or gone, none is marked.
  if (removed === "" || added === "" || removed.length + added.length > MAX_COMPARED) return [];
  return presentableDiff(removed, added, { scanLimit: 500 });
}

/** Whether the texts have the lines that the hunks name: otherwise the component compares them itself. */
export function fits(base: Text, text: Text, hunks: readonly Hunk[]): boolean {
  return hunks.every(
    (hunk) =>
      hunk.base_first_line + hunk.base_line_count <= base.lines + 1 &&
      hunk.first_line + hunk.line_count <= text.lines + 1,
  );
}

/**
 * Make an editor with these chunks. The component has no option for them, and those that it makes join changes with
 * one empty line in between, which are two hunks.
 */
export function withChunks<T>(chunks: readonly Chunk[], make: () => T): T {
  const { build } = Chunk;
  Chunk.build = () => chunks;
  try {
    return make();
  } finally {
    Chunk.build = build;
  }
}
