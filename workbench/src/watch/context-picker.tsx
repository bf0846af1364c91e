// The file, and the lines in it, that a request is about.

import { useState } from "preact/hooks";
import { Button } from "../components/button.js";
import { FileTree } from "../components/file-tree/file-tree.js";
import { size } from "../components/format.js";
import { lazy } from "../components/lazy.js";
import { printable } from "../components/printable.js";
import { useResource } from "../components/resource.js";
import { Empty, Failed, Loading } from "../components/states.js";
import { hub } from "../hub.js";

const CodeView = lazy(() => import("../components/code-view.js"), "the editor");

export interface Context {
  path?: string;
  /** As the hub takes it: `line 7` or `lines 10-25`. */
  lines?: string;
}

interface ContextPickerProps {
  draftId: string;
  context: Context;
  onChange: (context: Context) => void;
}

export function ContextPicker({ draftId, context, onChange }: ContextPickerProps) {
  const [open, setOpen] = useState(false);
  return (
    <div class="stack">
      <div class="row">
        <span>
          {context.path === undefined ? (
            <span class="quiet">About the whole draft</span>
          ) : (
            <>
              About <code>{printable(context.path)}</code>
              {context.lines !== undefined && `, ${context.lines}`}
            </>
          )}
        </span>
        <Button aria-expanded={open} onClick={() => setOpen(!open)}>
          {open ? "Done" : "Choose a file or lines"}
        </Button>
        {context.path !== undefined && (
          <Button kind="quiet" onClick={() => onChange({})}>
            Remove
          </Button>
        )}
      </div>
      {open && <DraftFiles draftId={draftId} context={context} onChange={onChange} />}
    </div>
  );
}

function DraftFiles({ draftId, context, onChange }: ContextPickerProps) {
  const draft = useResource((signal) => hub.drafts.get(draftId, {}, { signal }), [draftId]);
  if (draft.error !== undefined) return <Failed error={draft.error} retry={draft.reload} />;
  if (draft.value === undefined) return <Loading what="the draft" />;
  const files = Object.entries(draft.value.files ?? {}).map(([path, file]) => ({ key: path, path, file }));
  if (files.length === 0) return <Empty>The draft has no files.</Empty>;
  const chosen = files.find(({ path }) => path === context.path);
  const text = chosen?.file.text;
  return (
    <div class="picker">
      <FileTree
        label="Files of the draft"
        items={files}
        selected={context.path}
        onSelect={({ path }) => onChange({ path })}
        mark={({ file }) => <span class="quiet">{size(file.size_bytes)}</span>}
      />
      <div class="stack">
        {chosen === undefined ? (
          <Empty>Choose a file.</Empty>
        ) : text == null ? (
          <Empty>The file is not text: it can only be chosen as a whole.</Empty>
        ) : (
          <>
            <LinesField context={context} lineCount={text.split("\n").length} onChange={onChange} />
            <CodeView
              path={chosen.path}
              text={text}
              onSelect={(found) => {
                const { lines: _, ...whole } = context;
                onChange(found === undefined ? whole : { ...context, lines: linesText(found.first, found.last) });
              }}
            />
          </>
        )}
      </div>
    </div>
  );
}

/** The lines as numbers: the way to choose them without a mouse. */
function LinesField({ context, lineCount, onChange }: { context: Context; lineCount: number; onChange: (context: Context) => void }) {
  const [first, last] = numbersOf(context.lines);
  const change = (from: number, to: number) =>
    onChange({ ...context, lines: linesText(within(from, lineCount), within(Math.max(from, to), lineCount)) });
  return (
    <div class="row lines">
      <label>
        From line
        <input
          type="number"
          min={1}
          max={lineCount}
          value={first ?? ""}
          onInput={({ currentTarget: { valueAsNumber: value } }) => value >= 1 && change(value, last ?? value)}
        />
      </label>
      <label>
        to
        <input
          type="number"
          min={first ?? 1}
          max={lineCount}
          value={last ?? ""}
          onInput={({ currentTarget: { valueAsNumber: value } }) => value >= 1 && change(first ?? value, value)}
        />
      </label>
      <span class="quiet">or select lines below</span>
    </div>
  );
}

function within(line: number, lineCount: number): number {
  return Math.min(Math.max(1, Math.trunc(line)), lineCount);
}

function linesText(first: number, last: number): string {
  return first === last ? `line ${first}` : `lines ${first}-${last}`;
}

function numbersOf(lines: string | undefined): [number | undefined, number | undefined] {
  const found = lines?.match(/\d+/g)?.map(Number) ?? [];
  return [found[0], found[1] ?? found[0]];
}
