// The three texts of a conflict beside each other, with the places that both sides changed.

import { Compartment, Text, type Range } from "@codemirror/state";
import { Decoration, EditorView } from "@codemirror/view";
import type { ConflictPlace } from "@bizmatters/ide-orchestrator";
import { useEffect, useRef } from "preact/hooks";
import { lineStart, linesOf } from "../components/diff-view/hunk-changes.js";
import { languageOf, LINES, LOOK, READ_ONLY, shadowOf } from "../components/editor.js";
import { printable } from "../components/printable.js";

export type SideName = "base" | "draft" | "proposal";

interface ThreePanesProps {
  path: string;
  /** Undefined where there is no file, or where it is not text. */
  texts: Record<SideName, string | undefined>;
  places: ConflictPlace[];
  /** The place that all three show, from 0. */
  place: number;
}

const TITLES: Record<SideName, string> = {
  base: "Base: where both began",
  draft: "Draft: as it is now",
  proposal: "Proposal: what is accepted",
};

export function ThreePanes({ path, texts, places, place }: ThreePanesProps) {
  return (
    <div class="three-panes">
      {(["draft", "base", "proposal"] as const).map((side) => (
        <section aria-label={TITLES[side]}>
          <h3>{TITLES[side]}</h3>
          {texts[side] === undefined ? (
            <p class="quiet">No text here.</p>
          ) : (
            <Pane path={path} side={side} text={texts[side]} places={places} place={place} />
          )}
        </section>
      ))}
    </div>
  );
}

interface PaneProps {
  path: string;
  side: SideName;
  text: string;
  places: ConflictPlace[];
  place: number;
}

const CONFLICT = Decoration.line({ class: "conflict-line" });
const LOOK_OF_PLACES = EditorView.theme({
  ".conflict-line": { backgroundColor: "var(--warn-back)", boxShadow: "inset 3px 0 var(--warn)" },
});

function Pane({ path, side, text, places, place }: PaneProps) {
  const host = useRef<HTMLDivElement>(null);
  const shown = useRef<EditorView>();
  useEffect(() => {
    const root = shadowOf(host.current!);
    const language = new Compartment();
    const doc = Text.of(linesOf(text));
    const view = new EditorView({
      doc,
      parent: root,
      root,
      extensions: [
        LOOK,
        LOOK_OF_PLACES,
        READ_ONLY,
        LINES,
        language.of([]),
        EditorView.decorations.of(Decoration.set(marks(doc, side, places), true)),
        EditorView.contentAttributes.of({ "aria-label": `${printable(path)}, ${side}` }),
      ],
    });
    shown.current = view;
    void languageOf(path).then((found) => view.dispatch({ effects: language.reconfigure(found) }));
    return () => view.destroy();
  }, [path, text, places]);
  useEffect(() => {
    const line = places[place]?.[side].first_line;
    const view = shown.current;
    if (line !== undefined && view !== undefined)
      view.dispatch({ effects: EditorView.scrollIntoView(lineStart(view.state.doc, line), { y: "center" }) });
  }, [place, places, text]);
  return <div ref={host} class="code pane" />;
}

function marks(doc: Text, side: SideName, places: ConflictPlace[]): Range<Decoration>[] {
  return places.flatMap((place) => {
    const { first_line: first, line_count: count } = place[side];
    const found: Range<Decoration>[] = [];
    for (let line = first; line < first + count && line <= doc.lines; line++)
      found.push(CONFLICT.range(doc.line(line).from));
    return found;
  });
}
