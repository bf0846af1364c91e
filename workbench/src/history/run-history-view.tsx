// The files of a run after any of its events.

import type { FileAt, FileBlame } from "@bizmatters/ide-orchestrator";
import { useEffect, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import { Badge } from "../components/badge.js";
import { Button } from "../components/button.js";
import { content } from "../components/contents.js";
import DiffView from "../components/diff-view/diff-view.js";
import { FileTree } from "../components/file-tree/file-tree.js";
import { useResource } from "../components/resource.js";
import { Empty, Failed, Loading } from "../components/states.js";
import { useTitle } from "../components/title.js";
import { hub } from "../hub.js";
import type { ViewProps } from "../main.js";
import { address, replaceQuery } from "../router.js";
import BlameView from "./blame-view.js";
import { RunHistory } from "./run-history.js";
import { StoredFile } from "../components/stored-file.js";
import { Timeline } from "./timeline.js";

/** The address changes once the slider rests: browsers limit how often it may. */
const ADDRESS_MS = 300;

export default function RunHistoryView({ params }: ViewProps) {
  const thread = params["thread"]!;
  useTitle("History of the run");
  const [path, setPath] = useState(address.peek().query.get("path") ?? undefined);
  const history = useMemo(() => {
    const chosen = Number(address.peek().query.get("seq") ?? NaN);
    return new RunHistory(thread, Number.isSafeInteger(chosen) && chosen > 0 ? chosen : undefined);
  }, [thread]);
  const title = useRef<HTMLHeadingElement>(null);
  useEffect(() => {
    void history.start();
    return () => history.stop();
  }, [history]);
  useLayoutEffect(() => {
    if (document.activeElement === document.body) title.current?.focus();
  }, []);
  const chosen = history.chosen.value;
  useEffect(() => {
    const timer = setTimeout(
      () =>
        replaceQuery({
          ...(chosen === undefined ? {} : { seq: String(chosen) }),
          ...(path === undefined ? {} : { path }),
        }),
      ADDRESS_MS,
    );
    return () => clearTimeout(timer);
  }, [chosen, path]);

  return (
    <section class="view">
      <header class="row">
        <h1 ref={title} tabIndex={-1}>
          History of the run
        </h1>
        <span class="grow" />
        <a href={`#/runs/${thread}`} class="button">
          Run
        </a>
      </header>
      {history.error.value !== undefined && <Failed error={history.error.value} retry={() => void history.start()} />}
      {history.newest.value === 0 ? (
        history.error.value === undefined && <Loading what="the events" />
      ) : (
        <>
          <Timeline history={history} />
          <Files history={history} path={path} onPath={setPath} />
        </>
      )}
    </section>
  );
}

interface FilesProps {
  history: RunHistory;
  path: string | undefined;
  onPath: (path: string) => void;
}

interface FileItem {
  key: string;
  path: string;
  file: FileAt;
}

function Files({ history, path, onPath }: FilesProps) {
  const seq = history.seq.value;
  // Between two changes the files are the same, and are not read again.
  const changedAt = history.changedAt.value;
  const tree = useResource(
    () => (changedAt === undefined ? Promise.resolve([]) : history.tree(changedAt)),
    [changedAt, history],
  );
  const items = useMemo(
    (): FileItem[] => (tree.value ?? []).map((file) => ({ key: file.path, path: file.path, file })),
    [tree.value],
  );
  useEffect(() => {
    if (path === undefined && items.length > 0) onPath(items[0]!.path);
  }, [items, path]);
  if (tree.error !== undefined) return <Failed error={tree.error} retry={tree.reload} />;
  if (tree.value === undefined) return <Loading what="the files" />;
  if (items.length === 0) return <Empty>There is no file after event {seq}.</Empty>;
  const file = items.find((each) => each.path === path)?.file;
  return (
    <div class="side-by-side">
      <FileTree
        label={`Files after event ${seq}`}
        items={items}
        selected={path}
        onSelect={(item) => onPath(item.path)}
        mark={(item) => (
          <>
            {item.file.binary && <Badge>binary</Badge>}
            <Badge
              tone={item.file.seq === changedAt ? "busy" : "neutral"}
              title={`Written last by event ${item.file.seq}`}
            >
              {`event ${item.file.seq}`}
            </Badge>
          </>
        )}
      />
      {file === undefined ? (
        <Empty>{path} does not exist after this event.</Empty>
      ) : (
        <HistoricFile key={file.path} history={history} file={file} />
      )}
    </div>
  );
}

/** Blames that were read, by file, content and event. */
const blames = new Map<string, Promise<FileBlame>>();
const MAX_BLAMES = 50;

function HistoricFile({ history, file }: { history: RunHistory; file: FileAt }) {
  const [changes, setChanges] = useState(false);
  const blame = useResource(
    (): Promise<FileBlame | undefined> =>
      file.binary || file.size_bytes === 0 ? Promise.resolve(undefined) : blameOf(history.thread, file),
    [history, file.path, file.sha256, file.seq],
  );
  const current = blame.loading ? undefined : blame.value;
  return (
    <StoredFile owner={{ refinement: history.thread }} path={file.path} sha256={file.sha256}>
      {(text) => (
        <>
          <div class="segments" role="group" aria-label="What is shown">
            <Button aria-pressed={!changes} onClick={() => setChanges(false)}>
              Who wrote it
            </Button>
            <Button aria-pressed={changes} onClick={() => setChanges(true)}>
              What event {file.seq} changed
            </Button>
          </div>
          {blame.error !== undefined && <Failed error={blame.error} retry={blame.reload} />}
          {changes ? (
            <Changes history={history} file={file} text={text} />
          ) : text === "" ? (
            <Empty>This file is empty.</Empty>
          ) : (
            <BlameView
              path={file.path}
              text={text}
              blame={current}
              toolOf={(call) => history.toolOf(call)}
              onEvent={(seq) => (history.chosen.value = seq)}
            />
          )}
        </>
      )}
    </StoredFile>
  );
}

function blameOf(thread: string, file: FileAt): Promise<FileBlame> {
  const key = `${thread} ${file.seq} ${file.path}`;
  let answer = blames.get(key);
  if (answer === undefined) {
    answer = hub.refinements.blame(thread, { path: file.path, seq: file.seq });
    blames.set(key, answer);
    answer.catch(() => blames.delete(key));
    if (blames.size > MAX_BLAMES) blames.delete([...blames.keys()][0]!);
  }
  return answer;
}

/** The file beside what it was before the event that wrote it last. */
function Changes({ history, file, text }: { history: RunHistory; file: FileAt; text: string }) {
  const before = useResource(async () => {
    const found = await history.before(file);
    return content({ refinement: history.thread }, found?.sha256 ?? null);
  }, [history, file.path, file.seq]);
  if (before.value === undefined)
    return before.error !== undefined ? (
      <Failed error={before.error} retry={before.reload} />
    ) : (
      <Loading what="the file before" />
    );
  if (before.value.text === undefined) return <Empty>Before, it was not text.</Empty>;
  if (before.value.text === text) return <Empty>The content is the same as before.</Empty>;
  return <DiffView path={file.path} base={before.value.text} text={text} layout="unified" />;
}
