// A text with the event that wrote each line, in the margin and where the pointer or the cursor is.

import type { BlameRange, FileBlame } from "@bizmatters/ide-orchestrator";
import { Compartment, EditorState, StateEffect, StateField, Text, type Extension, type Range } from "@codemirror/state";
import {
  Decoration,
  EditorView,
  gutter,
  GutterMarker,
  hoverTooltip,
  type DecorationSet,
} from "@codemirror/view";
import { useEffect, useRef, useState } from "preact/hooks";
import { linesOf } from "../components/diff-view/hunk-changes.js";
import { languageOf, LINES, LOOK, READ_ONLY, shadowOf } from "../components/editor.js";
import { timeOfDay } from "../components/format.js";
import { printable } from "../components/printable.js";

interface BlameViewProps {
  path: string;
  text: string;
  /** Undefined until it is read: the text is there before. */
  blame: FileBlame | undefined;
  /** The tool of a call, for people. */
  toolOf: (call: string | null) => string | undefined;
  /** Called to look at an event. */
  onEvent: (seq: number) => void;
}

export default function BlameView({ path, text, blame, toolOf, onEvent }: BlameViewProps) {
  const host = useRef<HTMLDivElement>(null);
  const shown = useRef<{ view: EditorView; margin: Compartment }>();
  const [line, setLine] = useState(1);
  useEffect(() => {
    const root = shadowOf(host.current!);
    const [language, margin] = [new Compartment(), new Compartment()];
    const view = new EditorView({
      doc: Text.of(linesOf(text)),
      parent: root,
      root,
      extensions: [
        margin.of([]),
        LOOK,
        BLAME_LOOK,
        READ_ONLY,
        LINES,
        language.of([]),
        EditorView.contentAttributes.of({ "aria-label": printable(path) }),
        EditorView.updateListener.of(({ selectionSet, state }) => {
          if (selectionSet) setLine(state.doc.lineAt(state.selection.main.head).number);
        }),
      ],
    });
    shown.current = { view, margin };
    void languageOf(path).then((found) => view.dispatch({ effects: language.reconfigure(found) }));
    return () => {
      shown.current = undefined;
      view.destroy();
    };
  }, [path, text]);
  useEffect(() => {
    const current = shown.current;
    if (current === undefined || blame === undefined) return;
    current.view.dispatch({ effects: current.margin.reconfigure(blameMargin(blame, toolOf)) });
  }, [path, text, blame]);
  const range = blame === undefined ? undefined : rangeOf(blame, line);
  return (
    <>
      <p class="blame-line row" role="status">
        {blame === undefined ? (
          "Looking for who wrote the lines …"
        ) : range === undefined ? (
          "No lines."
        ) : (
          <>
            <span>
              Line {line}: {sentence(range, toolOf)}
            </span>
            <button type="button" class="link" onClick={() => onEvent(range.seq)}>
              Go to event {range.seq}
            </button>
          </>
        )}
      </p>
      {blame?.truncated && (
        <p class="quiet">The file has changed very often: lines of its oldest event may be older.</p>
      )}
      <div ref={host} class="code" />
    </>
  );
}

function rangeOf(blame: FileBlame, line: number): BlameRange | undefined {
  let [low, high] = [0, blame.ranges.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    const { first_line: first, line_count: count } = blame.ranges[middle]!;
    if (line < first) high = middle;
    else if (line >= first + count) low = middle + 1;
    else return blame.ranges[middle];
  }
  return undefined;
}

function sentence({ seq, created_at: at, tool_call_id: call }: BlameRange, toolOf: BlameViewProps["toolOf"]): string {
  const time = at === null ? "" : `, ${timeOfDay(at)}`;
  const tool = toolOf(call);
  const writer =
    call === null ? "" : tool === undefined ? `, ${printable(call)}` : `, ${printable(tool)} (${printable(call)})`;
  return `event ${seq}${time}${writer}`;
}

const point = StateEffect.define<number | undefined>();
const SAME_EVENT = Decoration.line({ class: "same-event" });

/** Characters of a tool's name in the margin. */
const MAX_NAME = 14;

class Writer extends GutterMarker {
  constructor(private readonly text: string) {
    super();
  }

  override eq(other: Writer): boolean {
    return other.text === this.text;
  }

  override toDOM(): Node {
    return document.createTextNode(this.text);
  }
}

function blameMargin(blame: FileBlame, toolOf: BlameViewProps["toolOf"]): Extension {
  const writers = new Map<string, Writer>();
  const writer = (text: string) => {
    let found = writers.get(text);
    if (found === undefined) writers.set(text, (found = new Writer(text)));
    return found;
  };
  return [
    gutter({
      class: "blame-margin",
      lineMarker(view, block) {
        const line = view.state.doc.lineAt(block.from).number;
        const range = rangeOf(blame, line);
        if (range === undefined) return null;
        const name = printable(toolOf(range.tool_call_id) ?? "").slice(0, MAX_NAME);
        return writer(line === range.first_line ? `${range.seq} ${name}`.trim() : "");
      },
      domEventHandlers: {
        mousemove: (view, block) => (pointAt(view, view.state.doc.lineAt(block.from).number), false),
      },
    }),
    hoverTooltip((view, at) => {
      const range = rangeOf(blame, view.state.doc.lineAt(at).number);
      if (range === undefined) return null;
      return {
        pos: at,
        above: true,
        create: () => {
          const dom = document.createElement("div");
          dom.className = "blame-tip";
          dom.textContent = sentence(range, toolOf);
          return { dom };
        },
      };
    }),
    EditorView.domEventHandlers({
      mousemove(event, view) {
        const at = view.posAtCoords({ x: event.clientX, y: event.clientY });
        if (at !== null) pointAt(view, view.state.doc.lineAt(at).number);
      },
      mouseleave: (_, view) => pointAt(view, undefined),
    }),
    StateField.define<{ seq: number | undefined; lines: DecorationSet }>({
      create: () => ({ seq: undefined, lines: Decoration.none }),
      update(before, { effects, state }) {
        const effect = effects.find((each) => each.is(point));
        return effect === undefined
          ? before
          : { seq: effect.value as number | undefined, lines: linesOfEvent(state, effect.value as number | undefined) };
      },
      provide: (field) => EditorView.decorations.from(field, ({ lines }) => lines),
    }),
  ];

  /** Mark the lines of the event that wrote a line. */
  function pointAt(view: EditorView, line: number | undefined): void {
    const seq = line === undefined ? undefined : rangeOf(blame, line)?.seq;
    if (seq === pointed.get(view)) return;
    pointed.set(view, seq);
    view.dispatch({ effects: point.of(seq) });
  }

  function linesOfEvent(state: EditorState, seq: number | undefined): DecorationSet {
    const found: Range<Decoration>[] = [];
    for (const range of blame.ranges) {
      if (range.seq !== seq) continue;
      for (let line = range.first_line; line < range.first_line + range.line_count && line <= state.doc.lines; line++)
        found.push(SAME_EVENT.range(state.doc.line(line).from));
    }
    return Decoration.set(found);
  }
}

const pointed = new WeakMap<EditorView, number | undefined>();

const BLAME_LOOK = EditorView.theme({
  "&": { height: "auto" },
  ".blame-margin": {
    padding: "0 8px",
    maxWidth: "min(25vw, 18ch)",
    overflow: "hidden",
    color: "var(--quiet)",
    fontSize: "12px",
    whiteSpace: "pre",
  },
  ".same-event": { backgroundColor: "var(--busy-back)" },
  ".cm-tooltip": { border: "1px solid var(--line)", backgroundColor: "var(--raised)", color: "var(--text)" },
  ".blame-tip": { padding: "4px 8px", fontFamily: "var(--sans)", fontSize: "12px" },
});
