// A bar above each hunk: its place, what is decided about it, and the buttons that decide.

import { StateEffect, StateField, type Extension, type Range, type Text } from "@codemirror/state";
import { Decoration, EditorView, WidgetType, type DecorationSet } from "@codemirror/view";
import type { Hunk } from "@bizmatters/ide-orchestrator";
import { lineStart } from "./hunk-changes.js";

export type Decision = "accepted" | "rejected";

/** What the bars show. */
export interface Bars {
  hunks: readonly Hunk[];
  /** What applies to a hunk that nothing is decided about. */
  otherwise: Decision;
  /** Called with a decision, or with null to withdraw it. Without it nothing can be decided. */
  decide?: ((hunk: Hunk, decision: Decision | null) => void) | undefined;
}

/** The text that an editor shows: the base, the other one beside it, or the other one alone. */
export type Side = "base" | "text" | "unified";

const setBars = StateEffect.define<Bars>();

/** The bars of one side. Of two editors, those of the base keep the lines of both at the same height. */
export function hunkBars(side: Side, bars: Bars): Extension {
  return StateField.define<DecorationSet>({
    create: (state) => decorations(state.doc, side, bars),
    update(shown, transaction) {
      for (const effect of transaction.effects)
        if (effect.is(setBars)) return decorations(transaction.newDoc, side, effect.value);
      return shown.map(transaction.changes);
    },
    provide: (field) => EditorView.decorations.from(field),
  });
}

/** Show other bars, such as after a decision. */
export function showBars(view: EditorView, bars: Bars): void {
  view.dispatch({ effects: setBars.of(bars) });
}

/** Bring a hunk's bar into view, and focus it. */
export function goToHunk(view: EditorView, hunk: Hunk): void {
  view.dispatch({
    effects: EditorView.scrollIntoView(lineStart(view.state.doc, hunk.first_line), { y: "start", yMargin: 80 }),
  });
  view.requestMeasure({
    read: () => undefined,
    write: () => view.dom.querySelector<HTMLElement>(`[data-hunk="${CSS.escape(hunk.id)}"]`)?.focus(),
  });
}

function decorations(doc: Text, side: Side, bars: Bars): DecorationSet {
  const found: Range<Decoration>[] = [];
  bars.hunks.forEach((hunk, index) => {
    const at = lineStart(doc, side === "base" ? hunk.base_first_line : hunk.first_line);
    const over = side === "text" && hunk.line_count === 0;
    const widget = side === "base" ? new BaseBar(hunk) : new HunkBar(hunk, index, bars, over);
    if (side !== "base" || hunk.base_line_count > 0)
      found.push(Decoration.widget({ widget, block: true, side: -2 }).range(at));
    if (side === "base" || (hunk.decision ?? bars.otherwise) !== "rejected") return;
    for (let line = hunk.first_line; line < hunk.first_line + hunk.line_count && line <= doc.lines; line++)
      found.push(LEFT_OUT.range(doc.line(line).from));
  });
  return Decoration.set(found, true);
}

const BAR_HEIGHT = 32;
const LEFT_OUT = Decoration.line({ class: "hunk-left-out" });

function placeText(first: number, count: number): string {
  if (count === 0) return `before line ${first}`;
  return count === 1 ? `line ${first}` : `lines ${first}–${first + count - 1}`;
}

class BaseBar extends WidgetType {
  constructor(private readonly hunk: Hunk) {
    super();
  }

  override eq(other: BaseBar): boolean {
    return other.hunk.id === this.hunk.id;
  }

  override get estimatedHeight(): number {
    return BAR_HEIGHT;
  }

  override toDOM(): HTMLElement {
    const bar = element("div", "hunk-bar");
    bar.append(element("span", "hunk-place", placeText(this.hunk.base_first_line, this.hunk.base_line_count)));
    return bar;
  }
}

class HunkBar extends WidgetType {
  readonly #decision: Decision | null;

  constructor(
    private readonly hunk: Hunk,
    private readonly index: number,
    private readonly bars: Bars,
    /** Whether it takes no room of its own. */
    private readonly over: boolean,
  ) {
    super();
    this.#decision = hunk.decision;
  }

  override eq(other: HunkBar): boolean {
    return other.hunk.id === this.hunk.id && other.#state() === this.#state() && other.bars.decide === this.bars.decide;
  }

  /** What becomes of it; nothing where nothing can be decided, as for a run that failed. */
  #state(): string {
    if (this.#decision !== null) return this.#decision;
    if (this.bars.otherwise === "rejected") return "rejected with the file";
    return this.bars.decide === undefined ? "" : "accepted by default";
  }

  override get estimatedHeight(): number {
    return this.over ? 0 : BAR_HEIGHT;
  }

  override toDOM(): HTMLElement {
    const bar = element("div", "hunk-bar");
    bar.dataset["hunk"] = this.hunk.id;
    bar.tabIndex = -1;
    bar.setAttribute("role", "group");
    const text = element("span", "hunk-text");
    text.append(element("span", "hunk-place"), " ", element("span", "hunk-state"));
    bar.append(text);
    if (this.bars.decide !== undefined) {
      const buttons = element("span", "hunk-buttons");
      buttons.append(button("Accept", "hunk"), button("Reject", "hunk"));
      bar.append(buttons);
    }
    this.#show(bar);
    if (!this.over) return bar;
    const around = element("div", "hunk-over");
    around.append(bar);
    return around;
  }

  /** The same elements with another state, so that the focus stays where it is. */
  override updateDOM(dom: HTMLElement): boolean {
    if (this.over !== dom.matches(".hunk-over")) return false;
    const bar = this.over ? (dom.firstElementChild as HTMLElement) : dom;
    const buttons = bar.querySelectorAll("button").length > 0;
    if (bar.dataset["hunk"] !== this.hunk.id || buttons !== (this.bars.decide !== undefined)) return false;
    this.#show(bar);
    return true;
  }

  #show(bar: HTMLElement): void {
    const place = placeText(this.hunk.first_line, this.hunk.line_count);
    const name = `Hunk ${this.index + 1} of ${this.bars.hunks.length}`;
    bar.setAttribute("aria-label", [name, place, this.#state()].filter(Boolean).join(", "));
    bar.classList.toggle("rejected", (this.#decision ?? this.bars.otherwise) === "rejected");
    bar.querySelector(".hunk-place")!.textContent = `${name} · ${place}`;
    bar.querySelector(".hunk-state")!.textContent = this.#state();
    const [accept, reject] = bar.querySelectorAll("button");
    this.#connect(accept, "accepted");
    this.#connect(reject, "rejected");
  }

  #connect(target: HTMLButtonElement | undefined, decision: Decision): void {
    if (target === undefined) return;
    const chosen = this.#decision === decision;
    target.setAttribute("aria-pressed", String(chosen));
    target.onclick = () => this.bars.decide?.(this.hunk, chosen ? null : decision);
  }
}

function element(name: string, className: string, text = ""): HTMLElement {
  const made = document.createElement(name);
  made.className = className;
  made.textContent = text;
  return made;
}

/** A button whose name also says what it is about. */
function button(text: string, about: string): HTMLElement {
  const made = element("button", "hunk-button", text) as HTMLButtonElement;
  made.type = "button";
  made.setAttribute("aria-label", `${text} ${about}`);
  return made;
}
