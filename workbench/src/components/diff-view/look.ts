// How differences look, in the page's colours.

import { EditorView } from "@codemirror/view";

export const DIFF_LOOK = EditorView.theme({
  "&": { height: "auto" },
  "&.cm-merge-a .cm-changedLine, .cm-deletedChunk": { backgroundColor: "var(--bad-back)" },
  "&.cm-merge-b .cm-changedLine": { backgroundColor: "var(--good-back)" },
  "&.cm-merge-a .cm-changedText, & .cm-deletedChunk .cm-deletedText": {
    background: "none",
    borderBottom: "2px solid var(--bad)",
  },
  "&.cm-merge-b .cm-changedText": { background: "none", borderBottom: "2px solid var(--good)" },
  ".cm-deletedChunk": { paddingLeft: "6px" },
  ".cm-deletedLine, .cm-deletedLine del, .cm-insertedLine": { textDecoration: "none" },
  "&.cm-merge-a .cm-changedLineGutter, & .cm-deletedLineGutter": { background: "var(--bad)" },
  "&.cm-merge-b .cm-changedLineGutter": { background: "var(--good)" },
  ".cm-collapsedLines": {
    background: "var(--hover)",
    color: "var(--quiet)",
    padding: "4px 8px",
    fontFamily: "var(--sans)",
    "&:before, &:after": { content: '"⋯"' },
  },
  // Beside lines that only the base has, the bar lies on the space that keeps the lines at the same height.
  ".hunk-over": { position: "relative", height: "0", overflow: "visible" },
  ".hunk-over > .hunk-bar": { position: "absolute", left: "0", right: "0", top: "0" },
  ".hunk-bar": {
    display: "flex",
    alignItems: "center",
    gap: "8px",
    height: "32px",
    overflow: "hidden",
    padding: "0 8px",
    fontFamily: "var(--sans)",
    fontSize: "12px",
    whiteSpace: "nowrap",
    color: "var(--quiet)",
    backgroundColor: "var(--surface)",
    borderTop: "1px solid var(--line)",
  },
  ".hunk-bar:focus": { outline: "2px solid var(--accent)", outlineOffset: "-2px" },
  ".hunk-bar.rejected .hunk-state": { color: "var(--bad)", fontWeight: "600" },
  ".hunk-place": { fontVariantNumeric: "tabular-nums" },
  ".hunk-state": { flex: "1 1 0", width: "0", overflow: "hidden", textOverflow: "ellipsis" },
  ".hunk-button": {
    minHeight: "24px",
    padding: "0 8px",
    font: "inherit",
    color: "var(--text)",
    background: "var(--surface)",
    border: "1px solid var(--line)",
    borderRadius: "var(--radius)",
    cursor: "pointer",
  },
  ".hunk-button:focus-visible": { outline: "2px solid var(--accent)", outlineOffset: "-2px" },
  '.hunk-button[aria-pressed="true"]': { color: "var(--accent-text)", background: "var(--accent)" },
  ".hunk-left-out": { textDecoration: "line-through", opacity: "0.75" },
});
