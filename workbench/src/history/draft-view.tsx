// A draft's versions: what each one changed, any two compared, and an earlier one restored.

import type { Draft, DraftDiffPage, FileDiff, Workflow } from "@bizmatters/ide-orchestrator";
import { useEffect, useMemo, useState } from "preact/hooks";
import { announce } from "../components/announce.js";
import { Badge, StatusBadge } from "../components/badge.js";
import { Button } from "../components/button.js";
import CodeView from "../components/code-view.js";
import { Dialog } from "../components/dialog.js";
import { FileTree } from "../components/file-tree/file-tree.js";
import { dateTime, plural } from "../components/format.js";
import { printable } from "../components/printable.js";
import { all, useResource } from "../components/resource.js";
import { Empty, Failed, FailedView, Loading } from "../components/states.js";
import { useTitle } from "../components/title.js";
import { hub } from "../hub.js";
import type { ViewProps } from "../main.js";
import { address, replaceQuery } from "../router.js";
import { ComparedFile } from "./compared-file.js";
import { StoredFile } from "../components/stored-file.js";

export default function DraftView({ params }: ViewProps) {
  const id = params["workflow"]!;
  const workflow = useResource((signal) => hub.workflows.get(id, { signal }), [id]);
  if (workflow.value !== undefined) return <DraftPage workflow={workflow.value} />;
  return workflow.error !== undefined ? (
    <FailedView what="The draft" error={workflow.error} retry={workflow.reload} />
  ) : (
    <Loading what="the draft" />
  );
}

function DraftPage({ workflow }: { workflow: Workflow }) {
  const draft = workflow.current_draft_id;
  useTitle(`Draft of ${workflow.name}`);
  const versions = useResource((signal) => all(hub.drafts.versions(draft, { limit: 200 }, { signal })), [draft]);
  const [restoring, setRestoring] = useState<Draft>();
  const newest = versions.value?.[0];
  const query = address.value.query;
  const version = numberOf(query.get("version")) ?? newest?.version;
  const base = numberOf(query.get("base")) ?? (version === undefined ? 0 : version - 1);
  const show = (shown: number, comparedWith = shown - 1) =>
    replaceQuery({ version: String(shown), ...(comparedWith === shown - 1 ? {} : { base: String(comparedWith) }) });

  return (
    <section class="view">
      <header class="row">
        <h1>Draft of {printable(workflow.name)}</h1>
        {workflow.locked && <Badge tone="warn">locked</Badge>}
        {workflow.archived && <Badge tone="warn">archived</Badge>}
        <span class="grow" />
        <a href={`#/?workflow=${workflow.id}`} class="button">
          Start a refinement
        </a>
      </header>
      {versions.error !== undefined && <Failed error={versions.error} retry={versions.reload} />}
      {versions.value === undefined || newest === undefined || version === undefined ? (
        versions.error === undefined && <Loading what="the versions" />
      ) : (
        <div class="side-by-side">
          <nav aria-label="Versions" class="versions" tabIndex={0}>
            <ol class="list">
              {versions.value.map((each) => (
                <li class={each.version === version ? "chosen" : ""}>
                  <div class="row">
                    <button
                      type="button"
                      class="link"
                      aria-current={each.version === version ? "true" : undefined}
                      onClick={() => show(each.version)}
                    >
                      Version {each.version}
                    </button>
                    {each.version === newest.version && <Badge tone="good">newest</Badge>}
                    <span class="grow" />
                    {each.version !== newest.version && (
                      <Button aria-label={`Restore version ${each.version}`} onClick={() => setRestoring(each)}>
                        Restore …
                      </Button>
                    )}
                  </div>
                  <div class="quiet">
                    {dateTime(each.created_at)} · <Origin version={each} />
                  </div>
                </li>
              ))}
            </ol>
          </nav>
          <div class="stack grow-pane">
            <div class="row">
              <label class="row inline">
                Compare version {version} with
                <select
                  value={String(base)}
                  onChange={({ currentTarget }) => show(version, Number(currentTarget.value))}
                >
                  {versions.value
                    .filter((each) => each.version !== version)
                    .map((each) => (
                      <option value={String(each.version)}>
                        version {each.version}
                        {each.version === version - 1 ? ", the one before" : ""}
                      </option>
                    ))}
                  {version === 1 && <option value="0">no files</option>}
                </select>
              </label>
            </div>
            <Comparison key={`${version} ${base}`} draft={draft} version={version} base={base} />
          </div>
        </div>
      )}
      {restoring !== undefined && newest !== undefined && (
        <RestoreDialog
          draft={newest}
          version={restoring.version}
          onClose={() => setRestoring(undefined)}
          onRestored={(made) => {
            versions.reload();
            show(made);
          }}
        />
      )}
    </section>
  );
}

function numberOf(text: string | null): number | undefined {
  const number = Number(text);
  return text !== null && Number.isSafeInteger(number) && number >= 0 ? number : undefined;
}

/** How a version came about. */
function Origin({ version }: { version: Draft }) {
  if (version.proposal_id !== null) return <a href={`#/proposals/${version.proposal_id}`}>from a proposal</a>;
  if (version.restored_version > 0) return <>restored version {version.restored_version}</>;
  return <>{version.version === 1 ? "created" : "edited"}</>;
}

interface RestoreDialogProps {
  draft: Draft;
  version: number;
  onClose: () => void;
  onRestored: (version: number) => void;
}

function RestoreDialog({ draft, version, onClose, onRestored }: RestoreDialogProps) {
  const [sending, setSending] = useState(false);
  const [refusal, setRefusal] = useState<unknown>();
  const restore = async () => {
    setSending(true);
    setRefusal(undefined);
    try {
      const made = await hub.drafts.restore(draft, version);
      announce(`Version ${version} was restored as version ${made.version}.`);
      onRestored(made.version);
      onClose();
    } catch (error) {
      setRefusal(error);
    } finally {
      setSending(false);
    }
  };
  return (
    <Dialog title={`Restore version ${version}`} onClose={onClose}>
      <p>
        The files of version {version} become version {draft.version + 1}. The versions in between stay, so that this
        can be undone in the same way.
      </p>
      {refusal !== undefined && <Failed error={refusal} />}
      <div class="row">
        <Button kind="primary" busy={sending ? "Restoring …" : undefined} onClick={() => void restore()}>
          Restore
        </Button>
        <Button onClick={onClose}>Cancel</Button>
      </div>
    </Dialog>
  );
}

interface VersionItem {
  key: string;
  path: string;
  diff: FileDiff | undefined;
  sha256: string | null;
}

/** The files of a version, those that differ from the other version marked. */
function Comparison({ draft, version, base }: { draft: string; version: number; base: number }) {
  const [onlyChanged, setOnlyChanged] = useState(true);
  const [selected, setSelected] = useState<string>();
  const read = useResource(
    async (signal) => {
      const [shown, differing] = await Promise.all([
        hub.drafts.get(draft, { version, view: "basic" }, { signal }),
        allPages(draft, { version, base_version: base }, signal),
      ]);
      return { shown, differing };
    },
    [draft, version, base],
  );
  const items = useMemo(
    () => (read.value === undefined ? [] : itemsOf(read.value.shown, read.value.differing, onlyChanged)),
    [read.value, onlyChanged],
  );
  useEffect(() => {
    if (items.length > 0 && !items.some(({ key }) => key === selected)) setSelected(items[0]!.key);
  }, [items]);
  if (read.value === undefined)
    return read.error !== undefined ? (
      <Failed error={read.error} retry={read.reload} />
    ) : (
      <Loading what="the comparison" />
    );
  const item = items.find(({ key }) => key === selected);
  return (
    <>
      <div class="row">
        <span class="quiet">
          {plural(read.value.differing.length, "file differs", "files differ")} ·{" "}
          {plural(Object.keys(read.value.shown.files ?? {}).length, "file")} in this version
        </span>
        <Button aria-pressed={!onlyChanged} onClick={() => setOnlyChanged(!onlyChanged)}>
          All files
        </Button>
      </div>
      {items.length === 0 ? (
        <Empty>{onlyChanged ? "No file differs." : "This version has no files."}</Empty>
      ) : (
        <div class="side-by-side inner">
          <FileTree
            label={`Files of version ${version}`}
            items={items}
            selected={selected}
            onSelect={({ key }) => setSelected(key)}
            mark={({ diff }) => diff !== undefined && <StatusBadge status={diff.kind} />}
          />
          {item === undefined ? null : item.diff !== undefined ? (
            <ComparedFile key={item.key} owner={{ draft }} diff={item.diff} />
          ) : (
            <StoredFile key={item.key} owner={{ draft }} path={item.path} sha256={item.sha256!}>
              {(text) => <CodeView path={item.path} text={text} />}
            </StoredFile>
          )}
        </div>
      )}
    </>
  );
}

async function allPages(
  draft: string,
  query: { version: number; base_version: number },
  signal: AbortSignal,
): Promise<FileDiff[]> {
  const found: FileDiff[] = [];
  let page: DraftDiffPage | undefined;
  do {
    page = await hub.drafts.diffPage(draft, { ...query, limit: 200, cursor: page?.next_cursor ?? null }, { signal });
    found.push(...page.items);
  } while (page.next_cursor !== null);
  return found;
}

function itemsOf(shown: Draft, differing: FileDiff[], onlyChanged: boolean): VersionItem[] {
  const changed = new Map(differing.map((diff) => [diff.path, diff]));
  const items = differing.map((diff): VersionItem => ({ key: diff.path, path: diff.path, diff, sha256: diff.sha256 }));
  if (!onlyChanged)
    for (const [path, { sha256 }] of Object.entries(shown.files ?? {}))
      if (!changed.has(path)) items.push({ key: path, path, diff: undefined, sha256 });
  return items;
}
