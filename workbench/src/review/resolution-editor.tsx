// The resolved text of a file in conflict: edited by hand, or filled place by place from one of the sides.

import { Compartment, EditorState, StateEffect, StateField, type Range } from "@codemirror/state";
import { history, historyKeymap, defaultKeymap } from "@codemirror/commands";
import { Decoration, EditorView, highlightSpecialChars, keymap, WidgetType, type DecorationSet } from "@codemirror/view";
import { useEffect, useRef } from "preact/hooks";
import { languageOf, LOOK, shadowOf } from "../components/editor.js";
import { DIFF_LOOK } from "../components/diff-view/look.js";
import { linesOf } from "../components/diff-view/hunk-changes.js";
import { printable } from "../components/printable.js";
import type { Part, Place } from "./merge-places.js";

export interface Resolution {
  text: string;
  /** Places where nothing was chosen yet. */
  open: number;
}

interface ResolutionEditorProps {
  path: string;
  parts: Part[];
  onChange: (resolution: Resolution) => void;
  /** Called with the number of the place, from 0, that a person looks at. */
  onPlace: (place: number) => void;
}

/** A place in the text that is being edited. */
interface Placed {
  from: number;
  to: number;
  place: Place;
  /** What was put there; undefined as long as nothing was. */
  choice: string | undefined;
}

const CHOICES: [name: string, text: (place: Place) => string][] = [
  ["Draft", ({ draft }) => draft],
  ["Proposal", ({ proposal }) => proposal],
  ["Draft, then proposal", ({ draft, proposal }) => withLineFeed(draft) + proposal],
  ["Base", ({ base }) => base],
  ["Neither", () => ""],
];

const choose = StateEffect.define<{ index: number; choice: string }>();

function withLineFeed(text: string): string {
  return text === "" || text.endsWith("\n") ? text : `${text}\n`;
}

export default function ResolutionEditor({ path, parts, onChange, onPlace }: ResolutionEditorProps) {
  const host = useRef<HTMLDivElement>(null);
  const calls = useRef({ onChange, onPlace });
  calls.current = { onChange, onPlace };
  useEffect(() => {
    const root = shadowOf(host.current!);
    const language = new Compartment();
    const { text, places } = start(parts);
    const field = placesField(places, (place) => calls.current.onPlace(place));
    const view = new EditorView({
      doc: text,
      parent: root,
      root,
      extensions: [
        LOOK,
        DIFF_LOOK,
        EditorState.lineSeparator.of("\n"),
        EditorView.lineWrapping,
        highlightSpecialChars(),
        history(),
        keymap.of([...defaultKeymap, ...historyKeymap]),
        language.of([]),
        field,
        EditorView.contentAttributes.of({ "aria-label": `${printable(path)}, resolved text` }),
        EditorView.updateListener.of(({ state }) => calls.current.onChange(resolutionOf(state))),
      ],
    });
    function resolutionOf(state: EditorState): Resolution {
      return {
        text: state.doc.sliceString(0, state.doc.length, "\n"),
        open: state.field(field).placed.filter(({ choice }) => choice === undefined).length,
      };
    }
    calls.current.onChange(resolutionOf(view.state));
    void languageOf(path).then((found) => view.dispatch({ effects: language.reconfigure(found) }));
    return () => view.destroy();
  }, [path, parts]);
  return <div ref={host} class="code resolution" />;
}

function start(parts: Part[]): { text: string; places: Placed[] } {
  let text = "";
  const places: Placed[] = [];
  for (const part of parts) {
    if (typeof part === "string") text += part;
    else places.push({ from: text.length, to: text.length, place: part, choice: undefined });
  }
  return { text: linesOf(text).join("\n"), places };
}

interface Places {
  placed: Placed[];
  shown: DecorationSet;
}

function placesField(places: Placed[], look: (place: number) => void): StateField<Places> {
  const show = (placed: Placed[], state: EditorState): Places => {
    const found: Range<Decoration>[] = [];
    placed.forEach((each, index) => {
      const line = state.doc.lineAt(each.from);
      found.push(Decoration.widget({ widget: new PlaceBar(each, index, placed.length, look), block: true, side: -1 }).range(line.from));
      if (each.from === each.to) return;
      for (let at = line; ; at = state.doc.line(at.number + 1)) {
        if (at.from >= each.to) break;
        found.push(CHOSEN.range(at.from));
        if (at.number === state.doc.lines) break;
      }
    });
    return { placed, shown: Decoration.set(found, true) };
  };
  return StateField.define<Places>({
    create: (state) => show(places, state),
    update(before, transaction) {
      const chosen = transaction.effects.find((effect) => effect.is(choose))?.value as { index: number; choice: string } | undefined;
      if (!transaction.docChanged && chosen === undefined) return before;
      const placed = before.placed.map((each, index): Placed => {
        const [from, to] = [transaction.changes.mapPos(each.from, -1), transaction.changes.mapPos(each.to, 1)];
        if (chosen !== undefined)
          // What is put into one place ends where it begins; another place there is not a part of it.
          return index === chosen.index ? { ...each, from, to, choice: chosen.choice } : { ...each, from: moved(transaction, each.from, index > chosen.index), to: moved(transaction, each.to, index > chosen.index) };
        const touched = transaction.changes.touchesRange(each.from, each.to) !== false && each.from < each.to;
        return { ...each, from, to, choice: touched ? "Edited" : each.choice };
      });
      return show(placed, transaction.state);
    },
    provide: (field) => EditorView.decorations.from(field, ({ shown }) => shown),
  });
}

function moved(transaction: { changes: { mapPos: (at: number, side: number) => number } }, at: number, after: boolean): number {
  return transaction.changes.mapPos(at, after ? 1 : -1);
}

const CHOSEN = Decoration.line({ class: "cm-changedLine" });

class PlaceBar extends WidgetType {
  constructor(
    private readonly placed: Placed,
    private readonly index: number,
    private readonly count: number,
    private readonly look: (place: number) => void,
  ) {
    super();
  }

  override eq(other: PlaceBar): boolean {
    return other.placed.choice === this.placed.choice && other.index === this.index && other.placed.from === this.placed.from && other.placed.to === this.placed.to;
  }

  override toDOM(view: EditorView): HTMLElement {
    const bar = document.createElement("div");
    bar.className = "hunk-bar";
    bar.setAttribute("role", "group");
    const state = document.createElement("span");
    state.className = "hunk-state";
    bar.append(state);
    for (const [name, text] of CHOICES) {
      const button = document.createElement("button");
      button.type = "button";
      button.className = "hunk-button";
      button.textContent = name;
      button.onfocus = () => this.look(this.index);
      button.dataset["choice"] = name;
      button.onclick = () => this.#choose(view, name, text);
      bar.append(button);
    }
    this.#show(bar);
    return bar;
  }

  override updateDOM(bar: HTMLElement, view: EditorView): boolean {
    this.#show(bar);
    for (const [name, text] of CHOICES)
      bar.querySelector<HTMLButtonElement>(`[data-choice="${name}"]`)!.onclick = () => this.#choose(view, name, text);
    return true;
  }

  #show(bar: HTMLElement): void {
    const name = `Conflict ${this.index + 1} of ${this.count}`;
    const { choice } = this.placed;
    bar.setAttribute("aria-label", `${name}, ${choice ?? "not resolved"}`);
    bar.classList.toggle("rejected", choice === undefined);
    bar.querySelector(".hunk-state")!.textContent = `${name}: ${choice === undefined ? "not resolved" : choice.toLowerCase()}`;
    for (const button of bar.querySelectorAll("button"))
      button.setAttribute("aria-pressed", String(button.dataset["choice"] === choice));
  }

  #choose(view: EditorView, name: string, text: (place: Place) => string): void {
    const { from, to, place } = this.placed;
    view.dispatch({ changes: { from, to, insert: text(place) }, effects: choose.of({ index: this.index, choice: name }) });
  }
}
