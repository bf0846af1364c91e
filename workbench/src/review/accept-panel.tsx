// Accepting: first what it would do, with the conflicts and how they are resolved, then the step itself.

import { ProblemError, type AcceptedProposal, type ResolvedFile } from "@bizmatters/ide-orchestrator";
import { useLayoutEffect, useRef, useState } from "preact/hooks";
import { announce } from "../components/announce.js";
import { Badge, StatusBadge } from "../components/badge.js";
import { Button } from "../components/button.js";
import { printable } from "../components/printable.js";
import { useResource } from "../components/resource.js";
import { Empty, Failed, Loading } from "../components/states.js";
import { hub } from "../hub.js";
import { ConflictResolver } from "./conflict-resolver.js";
import type { Review } from "./review.js";

interface AcceptPanelProps {
  review: Review;
  onDone: () => void;
}

export function AcceptPanel({ review, onDone }: AcceptPanelProps) {
  const proposal = review.proposal.value!;
  const [resolved, setResolved] = useState<ReadonlyMap<string, ResolvedFile>>(new Map());
  const [comment, setComment] = useState("");
  const [sending, setSending] = useState(false);
  const [refusal, setRefusal] = useState<unknown>();
  const title = useRef<HTMLHeadingElement>(null);
  // The button that opened it is gone. Before the next key comes.
  useLayoutEffect(() => title.current?.focus(), []);
  const preview = useResource(
    (signal) => hub.proposals.preview(proposal, { strategy: "three_way" }, { signal }),
    [proposal.etag],
  );
  const conflicts = preview.value?.conflicts ?? [];
  const open = conflicts.filter(({ path }) => !resolved.has(path)).length;

  const resolve = (path: string, file: ResolvedFile | undefined) =>
    setResolved((before) => {
      const next = new Map(before);
      if (file === undefined) next.delete(path);
      else next.set(path, file);
      return next;
    });
  const accept = async () => {
    setSending(true);
    setRefusal(undefined);
    try {
      const { draft } = await hub.proposals.accept(proposal, {
        strategy: "three_way",
        comment,
        ...(conflicts.length === 0
          ? {}
          : {
              draft_etag: preview.value!.draft.etag,
              resolved_files: conflicts.map(({ path }) => resolved.get(path)!),
            }),
      });
      announce(`Accepted as version ${draft.version}.`);
      // Without the dry run, which would be done again with what is accepted now.
      onDone();
      await review.load();
    } catch (error) {
      setRefusal(error);
      if (error instanceof ProblemError && ["draft_moved", "etag_mismatch", "conflict"].includes(error.code)) {
        // What was shown is out of date: look again at what would happen.
        await review.load();
        preview.reload();
      }
    } finally {
      setSending(false);
    }
  };

  return (
    <section class="stack" aria-label="Accept the proposal">
      <header class="row">
        <h2 ref={title} tabIndex={-1}>
          Accept
        </h2>
        <span class="grow" />
        <Button onClick={onDone}>Back to the files</Button>
      </header>
      {preview.value !== undefined ? (
        <Preview accepted={preview.value} />
      ) : preview.error !== undefined ? (
        <Refused error={preview.error} review={review} onDone={onDone} retry={preview.reload} />
      ) : (
        <Loading what="what accepting would do" />
      )}
      {conflicts.map((conflict) => (
        <ConflictResolver
          key={`${conflict.path} ${conflict.draft_sha256}`}
          review={review}
          conflict={conflict}
          onResolve={(file) => resolve(conflict.path, file)}
        />
      ))}
      {refusal !== undefined && <Refused error={refusal} review={review} onDone={onDone} retry={undefined} />}
      {preview.value !== undefined && (
        <>
          <label class="field">
            Comment (optional)
            <textarea rows={2} value={comment} onInput={({ currentTarget }) => setComment(currentTarget.value)} />
          </label>
          <div class="row">
            <Button
              kind="primary"
              disabled={open > 0}
              busy={sending ? "Accepting …" : undefined}
              onClick={() => void accept()}
            >
              Accept into the draft
            </Button>
            {open > 0 && <span class="quiet">{open === 1 ? "1 conflict" : `${open} conflicts`} to resolve first.</span>}
          </div>
        </>
      )}
    </section>
  );
}

/** What the dry run says. */
function Preview({
  accepted: { changes, change_count, conflict_count, conflicts, draft },
}: {
  accepted: AcceptedProposal;
}) {
  if (conflict_count > 0)
    return (
      <div class="notice warn">
        <strong>{conflict_count === 1 ? "1 file is in conflict" : `${conflict_count} files are in conflict`}</strong>
        <p>
          The draft is at version {draft.version}, and has other changes of the same lines. Choose for each what is to
          be used.
          {conflicts.length < conflict_count &&
            ` Only the first ${conflicts.length} are shown: reject some of the files first.`}
        </p>
      </div>
    );
  if (change_count === 0) return <Empty>Nothing differs from the draft: accepting makes no new version.</Empty>;
  return (
    <>
      <p>
        Accepting makes version {draft.version + 1} of the draft, with{" "}
        {change_count === 1 ? "1 changed file" : `${change_count} changed files`}.
      </p>
      <ul class="list changes" tabIndex={0} aria-label="What changes in the draft">
        {changes.map(({ path, kind, merged }) => (
          <li class="row">
            <bdi class="path">{printable(path)}</bdi>
            <StatusBadge status={kind} />
            {merged && (
              <Badge tone="busy" title="The content is neither that of the draft nor that of the proposal">
                merged
              </Badge>
            )}
          </li>
        ))}
        {changes.length < change_count && <li class="quiet">… and {change_count - changes.length} more</li>}
      </ul>
    </>
  );
}

interface RefusedProps extends AcceptPanelProps {
  error: unknown;
  retry: (() => void) | undefined;
}

/** Why it is not possible, with a way to what has to be decided first. */
function Refused({ error, retry, review, onDone }: RefusedProps) {
  const waiting = review.needingPath.value;
  const fields = error instanceof ProblemError ? Object.values(error.fields) : [];
  return (
    <div class="stack">
      <Failed error={error} retry={retry} />
      {fields.map((each) => (
        <p>{each}</p>
      ))}
      {error instanceof ProblemError && error.code === "unprocessable" && waiting.length > 0 && (
        <ul class="list" aria-label="Files that need another path">
          {waiting.slice(0, 20).map((file) => (
            <li>
              <Button
                onClick={() => {
                  review.select(file);
                  onDone();
                }}
              >
                Give {printable(file.path)} another path
              </Button>
            </li>
          ))}
        </ul>
      )}
    </div>
  );
}
