// A text that is read: highlighted, with line numbers.

import { Compartment, EditorState } from "@codemirror/state";
import { EditorView } from "@codemirror/view";
import { useEffect, useRef } from "preact/hooks";
import { languageOf, LOOK, READ_ONLY, shadowOf } from "./editor.js";
import { printable } from "./printable.js";

interface CodeViewProps {
  path: string;
  text: string;
  /** Given the lines that are selected, counted from 1; undefined without a selection. */
  onSelect?: (lines: { first: number; last: number } | undefined) => void;
}

export default function CodeView({ path, text, onSelect }: CodeViewProps) {
  const host = useRef<HTMLDivElement>(null);
  const editor = useRef<EditorView>();
  const select = useRef(onSelect);
  select.current = onSelect;
  useEffect(() => {
    const root = shadowOf(host.current!);
    const language = new Compartment();
    const view = new EditorView({
      root,
      parent: root,
      state: EditorState.create({
        doc: text,
        extensions: [
          LOOK,
          READ_ONLY,
          language.of([]),
          EditorView.contentAttributes.of({ "aria-label": printable(path) }),
          EditorView.updateListener.of(({ selectionSet, docChanged, state }) => {
            if (!selectionSet || docChanged) return;
            const { from, to, empty } = state.selection.main;
            const first = state.doc.lineAt(from).number;
            select.current?.(empty ? undefined : { first, last: state.doc.lineAt(to).number });
          }),
        ],
      }),
    });
    editor.current = view;
    void languageOf(path).then((found) => view.dispatch({ effects: language.reconfigure(found) }));
    return () => view.destroy();
  }, [path]);
  useEffect(() => {
    const { state } = editor.current!;
    // A text that grows keeps the place that a person reads.
    if (state.doc.toString() !== text) editor.current!.dispatch({ changes: difference(state.doc.toString(), text) });
  }, [text]);
  return <div ref={host} class="code" />;
}

/** The one change that makes the text from another: what both begin and end with stays. */
function difference(before: string, after: string): { from: number; to: number; insert: string } {
  const shorter = Math.min(before.length, after.length);
  let from = 0;
  while (from < shorter && before[from] === after[from]) from++;
  let end = 0;
  while (end < shorter - from && before.at(-1 - end) === after.at(-1 - end)) end++;
  return { from, to: before.length - end, insert: after.slice(from, after.length - end) };
}
