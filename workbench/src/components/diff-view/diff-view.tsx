// Two texts and what differs between them: one below the other, or side by side.

import { MergeView, unifiedMergeView } from "@codemirror/merge";
import { Compartment, Text, type Extension } from "@codemirror/state";
import { EditorView } from "@codemirror/view";
import type { Hunk } from "@bizmatters/ide-orchestrator";
import { useEffect, useRef } from "preact/hooks";
import { languageOf, LINES, LOOK, READ_ONLY, shadowOf } from "../editor.js";
import { printable } from "../printable.js";
import { goToHunk, hunkBars, showBars, type Bars, type Decision, type Side } from "./hunk-bars.js";
import { fits, hunkChunks, linesOf, withChunks } from "./hunk-changes.js";
import { DIFF_LOOK } from "./look.js";
import { UNCHANGED_LINES } from "./unchanged-lines.js";

export type Layout = "unified" | "split";

interface DiffViewProps {
  path: string;
  base: string;
  text: string;
  layout: Layout;
  /** Whether lines that are far from any change are shown, too. */
  whole?: boolean;
  /** The differences as the hub found them; without them the texts are compared here, and have no bars. */
  hunks?: readonly Hunk[];
  otherwise?: Decision;
  decide?: ((hunk: Hunk, decision: Decision | null) => void) | undefined;
  /** The hunk to bring into view; another object for each time. */
  target?: { hunk: Hunk } | undefined;
}

const UNCHANGED = { margin: 3, minSize: 4 };
const NO_HUNKS: readonly Hunk[] = [];

export default function DiffView(props: DiffViewProps) {
  const { path, base, text, layout, whole = false, hunks = NO_HUNKS, otherwise = "accepted", decide, target } = props;
  const host = useRef<HTMLDivElement>(null);
  const shown = useRef<Shown>();
  // The hub's comparison of two texts is always the same; only the decisions about its hunks change.
  const places = hunks.map(({ id }) => id).join();
  useEffect(() => {
    const made = show(host.current!, { ...props, whole, hunks, otherwise });
    shown.current = made;
    return () => {
      shown.current = undefined;
      made.destroy();
    };
  }, [path, base, text, layout, whole, places]);
  useEffect(() => {
    for (const view of shown.current?.views ?? []) showBars(view, { hunks, otherwise, decide });
  }, [hunks, otherwise, decide]);
  useEffect(() => {
    const view = shown.current?.views.at(-1);
    if (view !== undefined && target !== undefined) goToHunk(view, target.hunk);
  }, [target]);
  return <div ref={host} class={`diff ${layout}`} />;
}

interface Shown {
  /** That of the base first, if it has one of its own. */
  views: EditorView[];
  destroy: () => void;
}

function show(host: HTMLElement, props: DiffViewProps & Omit<Bars, "decide">): Shown {
  const { path, hunks, otherwise, decide, whole } = props;
  const root = shadowOf(host);
  const [base, text] = [Text.of(linesOf(props.base)), Text.of(linesOf(props.text))];
  const language = new Compartment();
  const bars = { hunks, otherwise, decide };
  const known = hunks.length > 0 && fits(base, text, hunks);
  const shared = {
    ...(whole ? {} : { collapseUnchanged: UNCHANGED }),
    gutter: true,
  };
  const extensions = (side: Side): Extension => [
    LOOK,
    DIFF_LOOK,
    READ_ONLY,
    LINES,
    UNCHANGED_LINES,
    language.of([]),
    known ? hunkBars(side, bars) : [],
    EditorView.contentAttributes.of({ "aria-label": `${printable(path)}, ${side === "base" ? "before" : "after"}` }),
  ];
  const make = (): Shown => {
    if (props.layout === "split") {
      const merge = new MergeView({
        ...shared,
        a: { doc: base, extensions: extensions("base") },
        b: { doc: text, extensions: extensions("text") },
        parent: root,
        root,
      });
      return { views: [merge.a, merge.b], destroy: () => (merge.destroy(), merge.dom.remove()) };
    }
    const view = new EditorView({
      doc: text,
      extensions: [extensions("unified"), unifiedMergeView({ ...shared, original: base, mergeControls: false })],
      parent: root,
      root,
    });
    return { views: [view], destroy: () => view.destroy() };
  };
  const shown = known ? withChunks(hunkChunks(base, text, hunks), make) : make();
  let current = true;
  void languageOf(path).then((found) => {
    if (current) for (const view of shown.views) view.dispatch({ effects: language.reconfigure(found) });
  });
  return {
    views: shown.views,
    destroy: () => {
      current = false;
      shown.destroy();
    },
  };
}
