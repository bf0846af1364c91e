// How differences look, in the page's colours.

import { EditorView } from "@codemirror/view";

const FOCUS = { outline: "2px solid var(--accent)", outlineOffset: "-2px" };

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
  // A sign beside the colour, which not everybody sees.
  ".cm-changeGutter": { width: "14px", padding: "0", textAlign: "center" },
  "&.cm-merge-a .cm-changedLineGutter, & .cm-deletedLineGutter": {
    background: "var(--bad-back)",
    color: "var(--bad)",
    borderLeft: "2px solid var(--bad)",
    // Where nothing was removed, the row has no height.
    overflow: "hidden",
  },
  "&.cm-merge-b .cm-changedLineGutter": {
    background: "var(--good-back)",
    color: "var(--good)",
    borderLeft: "2px solid var(--good)",
  },
  "&.cm-merge-a .cm-changedLineGutter::before, & .cm-deletedLineGutter::before": { content: '"−"' },
  "&.cm-merge-b .cm-changedLineGutter::before": { content: '"+"' },
  ".cm-collapsedLines": {
    background: "var(--hover)",
    color: "var(--quiet)",
    padding: "4px 8px",
    fontFamily: "var(--sans)",
    fontSize: "12px",
    "&:before, &:after": { content: "none" },
  },
  ".cm-collapsedLines:hover": { color: "var(--text)", textDecoration: "underline" },
  ".cm-collapsedLines:focus-visible": FOCUS,
  // Beside lines that only the base has, the bar lies on the space that keeps the lines at the same height.
  ".hunk-over": { position: "relative", height: "0", overflow: "visible" },
  ".hunk-over > .hunk-bar": { position: "absolute", left: "0", right: "0", top: "0" },
  ".hunk-bar": {
    display: "flex",
    flexWrap: "wrap",
    alignItems: "center",
    gap: "4px 8px",
    boxSizing: "border-box",
    minHeight: "32px",
    padding: "3px 8px",
    fontFamily: "var(--sans)",
    fontSize: "12px",
    lineHeight: "1.4",
    whiteSpace: "nowrap",
    color: "var(--quiet)",
    backgroundColor: "var(--hover)",
    borderTop: "1px solid var(--line)",
    borderBottom: "1px solid var(--line)",
  },
  // Beside another editor, the bars of both sides have the same height.
  ".cm-mergeView & .hunk-bar": { flexWrap: "nowrap", height: "32px", overflow: "hidden" },
  ".hunk-bar:focus": FOCUS,
  ".hunk-bar.rejected .hunk-state": { color: "var(--bad)", fontWeight: "600" },
  ".hunk-text": { flex: "1 1 100px", minWidth: "0", whiteSpace: "normal", fontVariantNumeric: "tabular-nums" },
  ".cm-mergeView & .hunk-text": { whiteSpace: "nowrap", overflow: "hidden", textOverflow: "ellipsis" },
  ".hunk-place": { marginRight: "4px", whiteSpace: "nowrap" },
  ".hunk-bar > .hunk-state": { flex: "1 1 auto" },
  ".hunk-buttons": { display: "flex", flex: "none", gap: "8px" },
  ".hunk-button": {
    flex: "none",
    minHeight: "24px",
    padding: "0 8px",
    font: "inherit",
    color: "var(--text)",
    background: "var(--surface)",
    border: "1px solid var(--line)",
    borderRadius: "var(--radius)",
    cursor: "pointer",
  },
  ".hunk-button:hover": { borderColor: "var(--quiet)" },
  ".hunk-button:focus-visible": FOCUS,
  '.hunk-button[aria-pressed="true"]': {
    color: "var(--accent-text)",
    background: "var(--accent)",
    borderColor: "var(--accent)",
  },
  ".hunk-left-out": { textDecoration: "line-through", opacity: "0.75" },
  // The system's colours in place of the page's: there are no backgrounds then.
  "@media (forced-colors: active)": {
    ".cm-deletedChunk .cm-deletedLine": { textDecoration: "line-through" },
    '.hunk-button[aria-pressed="true"]': {
      forcedColorAdjust: "none",
      color: "HighlightText",
      background: "Highlight",
    },
  },
});
