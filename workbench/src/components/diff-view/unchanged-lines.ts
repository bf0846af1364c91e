// The rows in place of unchanged lines, as buttons: the merge component opens them by the pointer alone.

import { EditorState, type Extension } from "@codemirror/state";
import { EditorView, ViewPlugin } from "@codemirror/view";

const ROW = ".cm-collapsedLines";

export const UNCHANGED_LINES: Extension = [
  EditorState.phrases.of({ "$ unchanged lines": "Show $ unchanged lines" }),
  ViewPlugin.define((view) => {
    // Rows come and go as the editor draws them.
    const request = { key: ROW, read: () => undefined, write: () => makeButtons(view.contentDOM) };
    const update = () => view.requestMeasure(request);
    update();
    return { update };
  }),
  EditorView.domEventHandlers({ keydown: openByKey }),
];

function makeButtons(content: HTMLElement): void {
  for (const row of content.querySelectorAll<HTMLElement>(ROW)) {
    row.tabIndex = 0;
    row.setAttribute("role", "button");
  }
}

function openByKey(event: KeyboardEvent, view: EditorView): boolean {
  const row = event.target;
  if (!(row instanceof HTMLElement) || !row.matches(ROW) || (event.key !== "Enter" && event.key !== " ")) return false;
  const at = view.posAtDOM(row);
  row.click();
  // The row is gone: the keyboard goes on at the first line that it hid.
  view.dispatch({ selection: { anchor: at } });
  view.focus();
  return true;
}
