// A text in conflict in parts: lines that both sides agree about, and places where a person chooses.

import { diff } from "@codemirror/merge";
import type { FileDiff, MergeConflict } from "@bizmatters/ide-orchestrator";

/** The lines of one place in the three texts, with their line ends. */
export interface Place {
  base: string;
  draft: string;
  proposal: string;
}

/** A part of the merged text: lines, or a place where both sides changed the same lines. */
export type Part = string | Place;

interface Range {
  from: number;
  to: number;
}

interface Lines {
  base: string[];
  draft: string[];
  proposal: string[];
}

const SIDES = ["base", "draft", "proposal"] as const;

/** The lines of a text, each with its line feed if it has one. */
export function splitLines(text: string): string[] {
  const lines = text.split("\n").map((line) => `${line}\n`);
  const last = lines.pop()!.slice(0, -1);
  return last === "" ? lines : [...lines, last];
}

/**
 * The parts of a text in conflict. The hub names the places; between them the changes of both sides are put
 * together, and where they meet all the same there is one more place.
 */
export function mergedParts(texts: Record<(typeof SIDES)[number], string>, places: MergeConflict["places"]): Part[] {
  const lines: Lines = { base: splitLines(texts.base), draft: splitLines(texts.draft), proposal: splitLines(texts.proposal) };
  const at = { base: 0, draft: 0, proposal: 0 };
  const parts: Part[] = [];
  const cut = (ends: Record<(typeof SIDES)[number], number>): Lines => {
    const found = {} as Lines;
    for (const side of SIDES) {
      found[side] = lines[side].slice(at[side], ends[side]);
      at[side] = ends[side];
    }
    return found;
  };
  for (const place of places) {
    const [starts, ends] = [{ ...at }, { ...at }];
    for (const side of SIDES) {
      starts[side] = place[side].first_line - 1;
      ends[side] = starts[side] + place[side].line_count;
    }
    parts.push(together(cut(starts)), joined(cut(ends)));
  }
  parts.push(together(cut({ base: lines.base.length, draft: lines.draft.length, proposal: lines.proposal.length })));
  return parts.filter((part) => part !== "");
}

function joined({ base, draft, proposal }: Lines): Place {
  return { base: base.join(""), draft: draft.join(""), proposal: proposal.join("") };
}

/** The lines with the changes of both sides; a place where these touch each other. */
function together(lines: Lines): Part {
  const { base, draft, proposal } = joined(lines);
  if (draft === proposal || proposal === base) return draft;
  if (draft === base) return proposal;
  const ours = changedLines(lines.base, lines.draft);
  const theirs = changedLines(lines.base, lines.proposal);
  if (ours === undefined || theirs === undefined) return { base, draft, proposal };
  const changes = [
    ...ours.map(({ before, after }) => ({ before, lines: lines.draft.slice(after.from, after.to) })),
    ...theirs.map(({ before, after }) => ({ before, lines: lines.proposal.slice(after.from, after.to) })),
  ].sort((one, other) => one.before.from - other.before.from || one.before.to - other.before.to);
  let at = 0;
  const merged: string[] = [];
  for (const [index, change] of changes.entries()) {
    if (index > 0 && change.before.from <= changes[index - 1]!.before.to) return { base, draft, proposal };
    merged.push(...lines.base.slice(at, change.before.from), ...change.lines);
    at = change.before.to;
  }
  return [...merged, ...lines.base.slice(at)].join("");
}

/** Lines that stand for a character each, beyond which there are no more characters to stand for them. */
const MAX_DISTINCT = 50_000;

function changedLines(base: string[], text: string[]): { before: Range; after: Range }[] | undefined {
  const known = new Map<string, string>();
  const characters = (lines: string[]) =>
    lines
      .map((line) => {
        let character = known.get(line);
        if (character === undefined) known.set(line, (character = String.fromCharCode(known.size + 1)));
        return character;
      })
      .join("");
  const [one, other] = [characters(base), characters(text)];
  if (known.size > MAX_DISTINCT) return undefined;
  return diff(one, other).map(({ fromA, toA, fromB, toB }) => ({
    before: { from: fromA, to: toA },
    after: { from: fromB, to: toB },
  }));
}

/** The text of a proposal's file with those of its hunks that come in. */
export function decidedText(base: string, text: string, { hunks, decision }: FileDiff): string {
  const [before, after] = [splitLines(base), splitLines(text)];
  const found: string[] = [];
  let at = 0;
  for (const hunk of hunks) {
    const first = hunk.base_first_line - 1;
    found.push(...before.slice(at, first));
    at = first + hunk.base_line_count;
    if ((hunk.decision ?? decision ?? "accepted") === "rejected") found.push(...before.slice(first, at));
    else found.push(...after.slice(hunk.first_line - 1, hunk.first_line - 1 + hunk.line_count));
  }
  return [...found, ...before.slice(at)].join("");
}
