// The resolved text of a file in conflict: edited by hand, or filled place by place from one of the sides.

import { Compartment, EditorState, StateEffect, StateField, type Range, type Transaction } from "@codemirror/state";
import { defaultKeymap, history, historyKeymap, invertedEffects } from "@codemirror/commands";
import {
  Decoration,
  EditorView,
  keymap,
  WidgetType,
  type DecorationSet,
} from "@codemirror/view";
import { useEffect, useRef } from "preact/hooks";
import { languageOf, LINES, LOOK, shadowOf } from "../components/editor.js";
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

interface Choice {
  index: number;
  choice: string | undefined;
}

const choose = StateEffect.define<Choice>();

function chosenIn({ effects }: Transaction): Choice | undefined {
  for (const effect of effects) if (effect.is(choose)) return effect.value;
  return undefined;
}

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
        LINES,
        history(),
        keymap.of([...defaultKeymap, ...historyKeymap]),
        language.of([]),
        field,
        // To undo a choice makes the place what it was before, not resolved.
        invertedEffects.of((transaction) => {
          const index = chosenIn(transaction)?.index;
          if (index === undefined) return [];
          return [choose.of({ index, choice: transaction.startState.field(field).placed[index]!.choice })];
        }),
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
      found.push(
        Decoration.widget({ widget: new PlaceBar(each, index, placed.length, look), block: true, side: -1 }).range(
          line.from,
        ),
      );
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
      const chosen = chosenIn(transaction);
      if (!transaction.docChanged && chosen === undefined) return before;
      const { changes } = transaction;
      const placed = before.placed.map((each, index): Placed => {
        const grown = { from: changes.mapPos(each.from, -1), to: changes.mapPos(each.to, 1) };
        if (index === chosen?.index) return { ...each, ...grown, choice: chosen.choice };
        if (chosen !== undefined) {
          // What is put into a place is no part of another place that is at the same position.
          const side = index > chosen.index ? 1 : -1;
          return { ...each, from: changes.mapPos(each.from, side), to: changes.mapPos(each.to, side) };
        }
        const edited = each.from < each.to && changes.touchesRange(each.from, each.to) !== false;
        return { ...each, ...grown, choice: edited ? "Edited" : each.choice };
      });
      return show(placed, transaction.state);
    },
    provide: (field) => EditorView.decorations.from(field, ({ shown }) => shown),
  });
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
    return (
      other.placed.choice === this.placed.choice &&
      other.index === this.index &&
      other.placed.from === this.placed.from &&
      other.placed.to === this.placed.to
    );
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
    bar.querySelector(".hunk-state")!.textContent =
      `${name}: ${choice === undefined ? "not resolved" : choice.toLowerCase()}`;
    for (const button of bar.querySelectorAll("button"))
      button.setAttribute("aria-pressed", String(button.dataset["choice"] === choice));
  }

  #choose(view: EditorView, name: string, text: (place: Place) => string): void {
    const { from, to, place } = this.placed;
    view.dispatch({
      changes: { from, to, insert: text(place) },
      effects: choose.of({ index: this.index, choice: name }),
    });
  }
}
