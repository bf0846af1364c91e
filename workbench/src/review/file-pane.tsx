// One file of the review: its marks, the decision about it, and its differences.

import { useMemo } from "preact/hooks";
import type { FileDiff, Hunk } from "@bizmatters/ide-orchestrator";
import { Badge, StatusBadge } from "../components/badge.js";
import { Button } from "../components/button.js";
import CodeView from "../components/code-view.js";
import { MAX_SHOWN, type Content } from "../components/contents.js";
import DiffView, { type Layout } from "../components/diff-view/diff-view.js";
import { saveFile } from "../components/download.js";
import { printable } from "../components/printable.js";
import { useResource } from "../components/resource.js";
import { Empty, Failed, Loading } from "../components/states.js";
import { hub } from "../hub.js";
import { Marks } from "./marks.js";
import { outcomeOf, type Outcome, type Review, type ReviewedFile } from "./review.js";

export interface PaneOptions {
  layout: Layout;
  whole: boolean;
}

interface FilePaneProps extends PaneOptions {
  review: Review;
  file: ReviewedFile;
  target: { hunk: Hunk } | undefined;
}

export function FilePane({ review, file, layout, whole, target }: FilePaneProps) {
  const { diff } = file;
  const decidable = review.decidable.value;
  const draft = review.proposal.value?.draft_id;
  const texts = useResource(
    () => (draft === undefined ? new Promise<never>(() => {}) : review.texts(file)),
    [diff.base_sha256, diff.sha256, draft, review],
  );
  return (
    <article class="file-pane" aria-labelledby="file-name">
      <header class="row">
        <h2 id="file-name" class="file-name" tabIndex={-1}>
          <bdi>{printable(file.path)}</bdi>
        </h2>
        {diff.rejection === null && (
          <>
            <StatusBadge status={diff.kind} />
            <LineCounts added={diff.added_lines} removed={diff.removed_lines} />
          </>
        )}
        <OutcomeBadge diff={diff} />
        <span class="grow" />
        {decidable && <FileDecision review={review} file={file} />}
      </header>
      {diff.old_path !== null && (
        <p class="quiet">
          Renamed from <bdi>{printable(diff.old_path)}</bdi>
        </p>
      )}
      <Marks diff={diff} onNewPath={decidable ? (path) => review.decideFile(file, "accepted", path) : undefined} />
      {texts.value !== undefined ? (
        <Difference {...{ review, file, layout, whole, target }} texts={texts.value} />
      ) : texts.error !== undefined ? (
        <Failed error={texts.error} retry={texts.reload} />
      ) : (
        <Loading what="the file" />
      )}
    </article>
  );
}

/** How many lines are new and gone; nothing of what is none. */
export function LineCounts({ added, removed }: { added: number; removed: number }) {
  return (
    <span>
      {added > 0 && <span class="added">+{added}</span>} {removed > 0 && <span class="removed">−{removed}</span>}
    </span>
  );
}

const OUTCOMES: Record<Outcome, "good" | "bad" | "warn"> = {
  accepted: "good",
  rejected: "bad",
  "partly accepted": "warn",
  "needs a path": "warn",
  "left out": "bad",
};

/** What becomes of a file, unless it is accepted by default. */
export function OutcomeBadge({ diff }: { diff: FileDiff }) {
  const outcome = outcomeOf(diff);
  if (outcome === "accepted" && diff.decision === null) return null;
  return <Badge tone={OUTCOMES[outcome]}>{outcome}</Badge>;
}

function FileDecision({ review, file }: { review: Review; file: ReviewedFile }) {
  const { decision, needs_new_path, new_path } = file.diff;
  const choose = (wanted: "accepted" | "rejected") => review.decideFile(file, decision === wanted ? null : wanted);
  return (
    <div class="row" role="group" aria-label="Decision about the file">
      {(!needs_new_path || new_path !== null) && (
        <Button aria-pressed={decision === "accepted"} onClick={() => choose("accepted")}>
          Accept file
        </Button>
      )}
      <Button aria-pressed={decision === "rejected"} onClick={() => choose("rejected")}>
        Reject file
      </Button>
    </div>
  );
}

interface DifferenceProps extends FilePaneProps {
  texts: [base: Content, text: Content];
}

function Difference({ review, file, layout, whole, target, texts: [base, text] }: DifferenceProps) {
  const { diff } = file;
  const decidable = review.decidable.value;
  // The same function as long as it decides about the same file, so that the bars are not made again.
  const decide = useMemo(
    () =>
      decidable
        ? (hunk: Hunk, decision: "accepted" | "rejected" | null) => review.decideHunk(file, hunk, decision)
        : undefined,
    [decidable, file.key, review],
  );
  if (diff.sha256 === null && diff.base_sha256 === null) return <Empty>The content of this file was not stored.</Empty>;
  if (base.text === undefined || text.text === undefined)
    return <NotShown review={review} file={file} why="This file is not text." />;
  if (base.bytes + text.bytes > MAX_SHOWN)
    return <NotShown review={review} file={file} why="This file is too large to be shown." />;
  if (diff.rejection !== null) return <CodeView path={file.path} text={text.text} />;
  if (base.text === text.text) return <Empty>The content is the same.</Empty>;
  return (
    <DiffView
      path={file.path}
      base={base.text}
      text={text.text}
      hunks={diff.hunks}
      otherwise={diff.decision ?? "accepted"}
      {...{ layout, whole, decide, target }}
    />
  );
}

function NotShown({ review, file, why }: { review: Review; file: ReviewedFile; why: string }) {
  const { diff, path } = file;
  return (
    <div class="stack">
      <Empty>
        {why} {diff.base_size_bytes.toLocaleString("en")} bytes before, {diff.size_bytes.toLocaleString("en")} after.
      </Empty>
      {diff.sha256 !== null && (
        <div class="row">
          <Button
            onClick={() => void hub.proposals.content(review.id, diff.sha256!).then((data) => saveFile(path, data))}
          >
            Download the file
          </Button>
        </div>
      )}
    </div>
  );
}
