// A file that both sides changed: its three texts, and the text or the side that is to be used.

import type { MergeConflict, ResolvedFile } from "@bizmatters/ide-orchestrator";
import { useMemo, useState } from "preact/hooks";
import { Badge } from "../components/badge.js";
import { Button } from "../components/button.js";
import { content, MAX_SHOWN } from "../components/contents.js";
import { printable } from "../components/printable.js";
import { useResource } from "../components/resource.js";
import { Failed, Loading } from "../components/states.js";
import { decidedText, mergedParts } from "./merge-places.js";
import ResolutionEditor from "./resolution-editor.js";
import type { Review } from "./review.js";
import { ThreePanes, type SideName } from "./three-panes.js";

const KINDS: Record<MergeConflict["kind"], string> = {
  both_modified: "changed in the draft and by the proposal",
  both_added: "added in the draft and by the proposal",
  both_renamed: "renamed differently in the draft and by the proposal",
  deleted_in_draft: "deleted in the draft, changed by the proposal",
  deleted_in_proposal: "changed in the draft, deleted by the proposal",
};

interface ConflictResolverProps {
  review: Review;
  conflict: MergeConflict;
  /** Called with what is to be used; undefined while something is not resolved. */
  onResolve: (file: ResolvedFile | undefined) => void;
}

export function ConflictResolver({ review, conflict, onResolve }: ConflictResolverProps) {
  const [way, setWay] = useState<"text" | "draft" | "proposal" | "deleted">();
  const [open, setOpen] = useState(0);
  const [place, setPlace] = useState(0);
  const read = useResource(() => readTexts(review, conflict), [conflict, review]);
  const texts = read.value;
  const editable = texts !== undefined && (texts.draft ?? texts.proposal) !== undefined;
  const parts = useMemo(
    () =>
      texts === undefined
        ? []
        : texts.draft === undefined || texts.proposal === undefined
          ? [texts.draft ?? texts.proposal ?? ""]
          : mergedParts({ base: texts.base ?? "", draft: texts.draft, proposal: texts.proposal }, conflict.places),
    [texts, conflict],
  );
  const chosen = way ?? (editable && conflict.kind.startsWith("both_") ? "text" : undefined);
  const choose = (wanted: NonNullable<typeof way>) => {
    setWay(wanted);
    if (wanted === "deleted") onResolve({ path: conflict.path, deleted: true });
    else if (wanted !== "text") onResolve({ path: conflict.path, side: wanted });
    else onResolve(undefined);
  };
  const option = (value: NonNullable<typeof way>, text: string) => (
    <Button aria-pressed={chosen === value} onClick={() => choose(value)}>
      {text}
    </Button>
  );
  return (
    <section class="conflict stack" aria-label={`Conflict in ${printable(conflict.path)}`}>
      <header class="row">
        <h3>
          <bdi>{printable(conflict.path)}</bdi>
        </h3>
        <span class="quiet">{KINDS[conflict.kind]}</span>
        {chosen === undefined || (chosen === "text" && open > 0) ? (
          <Badge tone="warn">{chosen === "text" ? `${open} to resolve` : "not resolved"}</Badge>
        ) : (
          <Badge tone="good">resolved</Badge>
        )}
      </header>
      <div class="row" role="group" aria-label="What is to be used">
        {editable && option("text", "Resolved text")}
        {conflict.draft_sha256 !== null && option("draft", "Draft's file")}
        {conflict.proposal_sha256 !== null && option("proposal", "Proposal's file")}
        {option("deleted", "Delete the file")}
      </div>
      {texts !== undefined ? (
        <ThreePanes path={conflict.path} texts={texts} places={conflict.places} place={place} />
      ) : read.error !== undefined ? (
        <Failed error={read.error} retry={read.reload} />
      ) : (
        <Loading what="the three texts" />
      )}
      {chosen === "text" && (
        <>
          <h3>Resolved text</h3>
          <ResolutionEditor
            path={conflict.path}
            parts={parts}
            onPlace={setPlace}
            onChange={(resolution) => {
              setOpen(resolution.open);
              onResolve(resolution.open === 0 ? { path: conflict.path, text: resolution.text } : undefined);
            }}
          />
        </>
      )}
    </section>
  );
}

/** The three texts. That of the proposal is made here when not all of its hunks come in: it is not stored. */
async function readTexts(review: Review, conflict: MergeConflict): Promise<Record<SideName, string | undefined>> {
  const draft = { draft: review.proposal.value!.draft_id };
  const file = review.files.value.find(
    ({ path, diff }) => path === conflict.path || diff.old_path === conflict.path,
  )?.diff;
  const whole = conflict.proposal_sha256 === null || file === undefined || file.sha256 === conflict.proposal_sha256;
  const [base, ours, theirs] = await Promise.all([
    content(draft, conflict.base_sha256),
    content(draft, conflict.draft_sha256),
    content({ proposal: review.id }, whole ? conflict.proposal_sha256 : file.sha256),
  ]);
  const small = base.bytes + ours.bytes + theirs.bytes <= MAX_SHOWN;
  const shown = (sha256: string | null, text: string | undefined) => (sha256 === null || !small ? undefined : text);
  const proposal =
    whole || base.text === undefined || theirs.text === undefined
      ? theirs.text
      : decidedText(base.text, theirs.text, file);
  return {
    base: shown(conflict.base_sha256, base.text),
    draft: shown(conflict.draft_sha256, ours.text),
    proposal: shown(conflict.proposal_sha256, proposal),
  };
}
