// A proposal's review: what it changes, file by file, and what becomes of it.

import type { DiffStatistics, Hunk, Proposal } from "@bizmatters/ide-orchestrator";
import { useEffect, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import { Badge, StatusBadge } from "../components/badge.js";
import { Button } from "../components/button.js";
import type { Layout } from "../components/diff-view/diff-view.js";
import { FileTree } from "../components/file-tree/file-tree.js";
import { treeRows } from "../components/file-tree/tree-rows.js";
import { dateTime } from "../components/format.js";
import { useWide } from "../components/media.js";
import { printable } from "../components/printable.js";
import { promptText } from "../components/prompt.js";
import { Empty, Failed, FailedView, Loading } from "../components/states.js";
import { useTitle } from "../components/title.js";
import type { ViewProps } from "../main.js";
import { address, replaceQuery } from "../router.js";
import { ShareButton } from "../share/share-button.js";
import { AcceptPanel } from "./accept-panel.js";
import { FilePane, LineCounts, OutcomeBadge } from "./file-pane.js";
import { Lineage, useRounds } from "./lineage.js";
import { RejectDialog, ReviseDialog } from "./reply-dialogs.js";
import { Review, type ComparedWith, type ReviewedFile } from "./review.js";
import { Shortcuts, shortcutOf } from "./shortcuts.js";

export default function ReviewView({ params }: ViewProps) {
  const id = params["proposal"]!;
  const query = address.value.query;
  const compared = query.get("with") ?? query.get("base") ?? "started_from";
  const review = useMemo(
    () => new Review(id, comparedWith(compared), address.peek().query.get("file")),
    [id, compared],
  );
  useEffect(() => {
    review.start();
    return () => review.stop();
  }, [review]);
  const selected = review.selectedKey.value;
  useEffect(() => {
    if (selected !== undefined)
      replaceQuery({ ...(compared === "started_from" ? {} : queryOf(compared)), file: selected });
  }, [selected, compared]);

  const proposal = review.proposal.value;
  if (review.error.value !== undefined)
    return <FailedView what="The proposal" error={review.error.value} retry={() => void review.load()} />;
  if (proposal === undefined) return <Loading what="the proposal" />;
  return <ReviewPage review={review} proposal={proposal} compared={compared} />;
}

function comparedWith(name: string): ComparedWith {
  return name === "started_from" || name === "draft" ? { base: name } : { proposal: name };
}

function queryOf(name: string): Record<string, string> {
  return name === "draft" ? { base: name } : { with: name };
}

type Step = "files" | "accept" | "reject" | "revise";

interface ReviewPageProps {
  review: Review;
  proposal: Proposal;
  compared: string;
}

function ReviewPage({ review, proposal, compared }: ReviewPageProps) {
  const [step, setStep] = useState<Step>("files");
  const title = useRef<HTMLHeadingElement>(null);
  const rounds = useRounds(proposal);
  useTitle(`Review: ${promptText(proposal.user_prompt).slice(0, 40)}`);
  useLayoutEffect(() => {
    if (document.activeElement === document.body) title.current?.focus();
  }, []);
  const open = review.open.value;
  const toFiles = () => {
    setStep("files");
    title.current?.focus();
  };
  return (
    <section class="view review">
      <header class="stack">
        <div class="row">
          <h1 ref={title} tabIndex={-1}>
            Review
          </h1>
          <StatusBadge status={proposal.resolution ?? proposal.status} />
          {proposal.stale && (
            <Badge tone="warn" title="The draft has a newer version than the one that the run started from">
              draft has changed
            </Badge>
          )}
          {proposal.superseded && <Badge tone="warn">revised</Badge>}
          <span class="grow" />
          <nav class="row" aria-label="This proposal">
            <a href={`#/runs/${proposal.thread_id}`} class="button">
              Run
            </a>
            <a href={`#/runs/${proposal.thread_id}/history`} class="button">
              History
            </a>
            <a href={`#/drafts/${proposal.workflow_id}`} class="button">
              Draft
            </a>
          </nav>
          <ShareButton proposalId={proposal.id} />
        </div>
        <Prompt text={promptText(proposal.user_prompt)} />
        <Lineage rounds={rounds} current={proposal.id} />
        <Resolved proposal={proposal} />
        {open && step !== "accept" && (
          <div class="row" role="group" aria-label="Answer">
            <Button kind="primary" onClick={() => setStep("accept")}>
              Accept …
            </Button>
            <Button onClick={() => setStep("revise")}>Revise …</Button>
            <Button kind="danger" onClick={() => setStep("reject")}>
              Reject …
            </Button>
          </div>
        )}
      </header>
      {review.refusal.value !== undefined && <Failed error={review.refusal.value} />}
      {step === "accept" ? (
        <AcceptPanel review={review} onDone={toFiles} />
      ) : (
        <Files review={review} proposal={proposal} rounds={rounds} compared={compared} />
      )}
      {step === "reject" && <RejectDialog review={review} onClose={() => setStep("files")} />}
      {step === "revise" && <ReviseDialog review={review} onClose={() => setStep("files")} />}
    </section>
  );
}

/** Characters of a prompt that are shown at first. */
const SHOWN = 200;

function Prompt({ text }: { text: string }) {
  if (text.length <= SHOWN && !text.includes("\n")) return <p class="review-prompt">{printable(text)}</p>;
  return (
    <details class="review-prompt">
      <summary>{printable(text.slice(0, SHOWN))} …</summary>
      <p>{text}</p>
    </details>
  );
}

function Resolved({ proposal }: { proposal: Proposal }) {
  if (proposal.resolution !== null)
    return (
      <div class={`notice ${proposal.resolution === "accepted" ? "good" : "bad"}`}>
        <strong>
          {proposal.resolution === "accepted" ? "Accepted" : "Rejected"} on {dateTime(proposal.resolved_at!)}
        </strong>
        {proposal.result_version !== null && (
          <p>
            It is{" "}
            <a href={`#/drafts/${proposal.workflow_id}?version=${proposal.result_version}`}>
              version {proposal.result_version}
            </a>{" "}
            of the draft. To undo it, restore the version before.
          </p>
        )}
        {proposal.resolution_comment && <p>“{proposal.resolution_comment}”</p>}
        {proposal.resolution === "accepted" && (
          <a href={`#/?workflow=${proposal.workflow_id}`}>Start the next refinement</a>
        )}
      </div>
    );
  if (proposal.status === "completed") return null;
  return (
    <div class={`notice ${proposal.failure === null ? "" : "bad"}`}>
      {proposal.failure !== null ? (
        <p>
          The run did not complete ({proposal.failure.reason.replaceAll("_", " ")}): its files can be seen, but not
          accepted. {proposal.failure.message}
        </p>
      ) : (
        <p>
          The run has not ended: <a href={`#/runs/${proposal.thread_id}`}>watch it</a>. Its files can be reviewed
          afterwards.
        </p>
      )}
    </div>
  );
}

interface FilesProps extends ReviewPageProps {
  rounds: Proposal[];
}

function Files({ review, proposal, rounds, compared }: FilesProps) {
  const wide = useWide("(min-width: 960px)");
  const [chosen, setChosen] = useState<Layout>("unified");
  const [whole, setWhole] = useState(false);
  const [target, setTarget] = useState<{ hunk: Hunk }>();
  const hunkIndex = useRef(-1);
  const byKey = useRef(false);
  const files = review.files.value;
  const file = review.selected.value;
  const order = useMemo(
    () => treeRows(files, new Set()).flatMap((row) => (row.kind === "file" ? [row.item] : [])),
    [files],
  );
  const layout = wide ? chosen : "unified";
  // Before the next key comes.
  useLayoutEffect(() => {
    hunkIndex.current = -1;
    setTarget(undefined);
    // The bar that had the focus is gone with its file: keys would go nowhere.
    if (byKey.current) document.getElementById("file-name")?.focus();
    byKey.current = false;
  }, [file?.key]);

  const goToFile = (step: number) => {
    const next = order[order.findIndex(({ key }) => key === file?.key) + step];
    if (next === undefined) return;
    byKey.current = true;
    review.select(next);
  };
  const goToHunk = (step: number) => {
    const hunks = file?.diff.hunks ?? [];
    const next = Math.min(Math.max(hunkIndex.current + step, 0), hunks.length - 1);
    if (hunks[next] === undefined) return;
    hunkIndex.current = next;
    setTarget({ hunk: hunks[next] });
  };
  const decide = (what: "hunk" | "file", decision: "accepted" | "rejected") => {
    if (file === undefined || !review.decidable.value) return;
    const hunk = file.diff.hunks[Math.max(hunkIndex.current, 0)];
    if (what === "file") review.decideFile(file, file.diff.decision === decision ? null : decision);
    else if (hunk !== undefined) review.decideHunk(file, hunk, hunk.decision === decision ? null : decision);
  };
  const onKeyDown = (event: KeyboardEvent) => {
    switch (shortcutOf(event)) {
      case "j":
        return goToHunk(1);
      case "k":
        return goToHunk(-1);
      case "n":
        return goToFile(1);
      case "p":
        return goToFile(-1);
      case "a":
        return decide("hunk", "accepted");
      case "x":
        return decide("hunk", "rejected");
      case "A":
        return decide("file", "accepted");
      case "X":
        return decide("file", "rejected");
      case "s":
        return setChosen(chosen === "split" ? "unified" : "split");
    }
  };

  if (files.length === 0)
    return review.complete.value ? (
      <Empty>
        {compared === "started_from"
          ? `No file differs from version ${proposal.base_version}, which the run started from.`
          : "No file differs."}
      </Empty>
    ) : proposal.status === "completed" ? (
      <Loading what="the files" />
    ) : null;
  return (
    <div class="review-body" onKeyDown={onKeyDown}>
      <div class="row">
        <label class="row inline">
          Compare with
          <select
            value={compared}
            onChange={({ currentTarget }) =>
              replaceQuery(currentTarget.value === "started_from" ? {} : queryOf(currentTarget.value))
            }
          >
            <option value="started_from">version {proposal.base_version}, which the run started from</option>
            <option value="draft">the draft as it is now</option>
            {rounds.map((round, index) =>
              round.id === proposal.id || round.status !== "completed" ? null : (
                <option value={round.id}>round {index + 1}</option>
              ),
            )}
          </select>
        </label>
        <Statistics statistics={review.statistics.value} />
        <span class="grow" />
        {wide && (
          <div class="segments" role="group" aria-label="Layout">
            <Button aria-pressed={chosen === "unified"} onClick={() => setChosen("unified")}>
              Unified
            </Button>
            <Button aria-pressed={chosen === "split"} onClick={() => setChosen("split")}>
              Side by side
            </Button>
          </div>
        )}
        <Button aria-pressed={whole} onClick={() => setWhole(!whole)}>
          Whole file
        </Button>
      </div>
      {compared !== "started_from" && review.open.value && (
        <p class="quiet">Decisions are about the comparison with the version that the run started from.</p>
      )}
      <div class="side-by-side">
        <FileTree
          label="Changed files"
          items={files}
          selected={file?.key}
          onSelect={(each) => review.select(each)}
          mark={fileMark}
        />
        {file === undefined ? (
          review.complete.value ? (
            <Empty>There is no such file.</Empty>
          ) : (
            <Loading what="the file" />
          )
        ) : (
          <FilePane {...{ review, file, layout, whole, target }} />
        )}
      </div>
      <Shortcuts />
    </div>
  );
}

function fileMark({ diff }: ReviewedFile) {
  return (
    <>
      {diff.rejection !== null && <Badge tone="bad">unsafe</Badge>}
      {diff.portability.length > 0 && <Badge tone="warn">not portable</Badge>}
      {diff.changed_in_draft && <Badge tone="warn">changed in draft</Badge>}
      {diff.rejection === null && diff.portability.length === 0 && <StatusBadge status={diff.kind} />}
      <OutcomeBadge diff={diff} />
    </>
  );
}

function Statistics({ statistics }: { statistics: DiffStatistics | null }) {
  if (statistics === null) return null;
  const counts = [
    [statistics.added_files, "added"],
    [statistics.modified_files, "modified"],
    [statistics.renamed_files, "renamed"],
    [statistics.deleted_files, "deleted"],
  ] as const;
  return (
    <span class="quiet">
      {counts
        .filter(([count]) => count > 0)
        .map(([count, word]) => `${count} ${word}`)
        .join(", ") || "no files"}
      , <LineCounts added={statistics.added_lines} removed={statistics.removed_lines} /> lines
    </span>
  );
}
