// A text that is read: highlighted, with line numbers.

import { Compartment, EditorState } from "@codemirror/state";
import { EditorView } from "@codemirror/view";
import { useEffect, useRef } from "preact/hooks";
import { languageOf, LOOK, READ_ONLY, shadowOf } from "./editor.js";
import { printable } from "./printable.js";

interface CodeViewProps {
  path: string;
  text: string;
  /** Told the lines that are selected, counted from 1; undefined without a selection. */
  onSelect?: (lines: { first: number; last: number; text: string } | undefined) => void;
}

export default function CodeView({ path, text, onSelect }: CodeViewProps) {
  const host = useRef<HTMLDivElement>(null);
  const told = useRef(onSelect);
  told.current = onSelect;
  useEffect(() => {
    const language = new Compartment();
    const root = shadowOf(host.current!);
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
          EditorView.updateListener.of(({ selectionSet, state }) => {
            if (!selectionSet) return;
            const { from, to, empty } = state.selection.main;
            const first = state.doc.lineAt(from).number;
            const last = state.doc.lineAt(to).number;
            told.current?.(empty ? undefined : { first, last, text: state.sliceDoc(from, to) });
          }),
        ],
      }),
    });
    void languageOf(path).then((found) => view.dispatch({ effects: language.reconfigure(found) }));
    return () => view.destroy();
  }, [path, text]);
  return <div ref={host} class="code" />;
}
