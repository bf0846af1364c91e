// A refinement, live.

import type { ProposalStatus, Refinement } from "@bizmatters/ide-orchestrator";
import { useEffect, useMemo, useState } from "preact/hooks";
import { announce } from "../components/announce.js";
import { StatusBadge } from "../components/badge.js";
import { Button } from "../components/button.js";
import { Dialog } from "../components/dialog.js";
import { duration, plural } from "../components/format.js";
import { printable } from "../components/printable.js";
import { promptText, recordingOf } from "../components/prompt.js";
import { useResource, type Resource } from "../components/resource.js";
import { Failed, FailedView, Loading } from "../components/states.js";
import { useTitle } from "../components/title.js";
import { hub } from "../hub.js";
import type { ViewProps } from "../main.js";
import { ShareButton } from "../share/share-button.js";
import { ConnectionStatus, useNow } from "./connection-status.js";
import { Conversation } from "./conversation.js";
import { FilesPanel } from "./files-panel.js";
import { FollowedRun } from "./followed-run.js";
import { Question } from "./question.js";
import type { RunState } from "./run-state.js";
import { SubAgents } from "./sub-agents.js";
import { Todos } from "./todos.js";

export default function WatchView({ params }: ViewProps) {
  const threadId = params["thread"]!;
  const refinement = useResource((signal) => hub.refinements.get(threadId, { signal }), [threadId]);
  const [attempt, setAttempt] = useState(0);
  // The events are followed while the refinement is still read.
  const run = useMemo(() => new FollowedRun(hub, threadId), [threadId, attempt]);
  useEffect(() => {
    const controller = new AbortController();
    void run.follow(controller.signal);
    return () => controller.abort();
  }, [run]);
  const retry = () => {
    setAttempt(attempt + 1);
    refinement.reload();
  };
  if (refinement.error !== undefined) return <FailedView what="The run" error={refinement.error} retry={retry} />;
  if (refinement.value === undefined) return <Loading what="the refinement" />;
  return <Watch key={threadId} run={run} refinement={refinement.value} reload={refinement.reload} />;
}

interface WatchProps {
  run: FollowedRun;
  refinement: Refinement;
  reload: () => void;
}

function Watch({ run, refinement, reload }: WatchProps) {
  const threadId = refinement.thread_id;
  const proposal = useResource((signal) => hub.proposals.get(refinement.proposal_id, { view: "basic" }, { signal }), [threadId]);
  const info = useResource((signal) => hub.info({ signal }), []);
  const revision = run.revision.value;
  const { state } = run;
  const status = statusOf(state, refinement);
  useAnnouncements(status, state);
  useEffect(() => {
    // What waits in a queue starts some time.
    if (state.terminal !== undefined || (refinement.status === "queued" && state.seq > 1)) reload();
  }, [state.terminal !== undefined, state.seq > 1]);
  const asked = proposal.value?.user_prompt ?? "";
  const prompt = promptText(asked);
  const recording = recordingOf(asked);
  useTitle(`${status.replaceAll("_", " ")}: ${prompt.slice(0, 40) || "refinement"}`);
  const connection = run.connection.value;
  return (
    <div class="view watch">
      <header class="watch-head">
        <div class="row">
          <h1 class="prompt">{prompt || "Refinement"}</h1>
          <StatusBadge status={status} />
        </div>
        {proposal.value?.context_file_path != null && (
          <p class="quiet">
            About <code>{printable(proposal.value.context_file_path)}</code>
            {proposal.value.context_selection != null && `, ${printable(proposal.value.context_selection)}`}
          </p>
        )}
        {recording !== undefined && (
          <p class="quiet">
            Replays the recording <code>{printable(recording)}</code>, whatever the prompt.
          </p>
        )}
        <div class="row">
          <Elapsed state={state} />
          <ConnectionStatus connection={connection} seq={state.seq} reconnects={run.reconnects.value} />
          <span class="grow" />
          <Links refinement={refinement} />
          <ShareButton proposalId={refinement.proposal_id} cursor={state.seq} />
          {state.terminal === undefined && <CancelButton threadId={threadId} />}
        </div>
        <p class="progress quiet" hidden={state.terminal !== undefined || run.progress.value === ""}>
          {run.progress.value}
        </p>
        <Waiting refinement={refinement} status={status} />
        {connection.is === "failed" && <Failed error={connection.error} />}
        <Outcome
          state={state}
          proposalId={refinement.proposal_id}
          resolution={proposal.value?.resolution ?? null}
        />
        {state.discontinuities > 0 && (
          <p class="notice warn">
            The hub lost the runtime's stream {state.discontinuities === 1 ? "once" : `${state.discontinuities} times`}:
            pieces of text may be missing. Messages, todos and files are exact.
          </p>
        )}
      </header>
      <div class="watch-columns">
        <div class="watch-main">
          {state.question !== undefined && (
            <Question
              key={state.question.seq}
              threadId={threadId}
              question={state.question}
              answerable={info.value?.features.includes("input_replies") ?? true}
            />
          )}
          <Conversation state={state} revision={revision} />
        </div>
        <div class="watch-side">
          <Todos todos={state.todos} />
          <FilesPanel threadId={threadId} files={state.files} />
          <SubAgents agents={[...state.subAgents.values()]} />
        </div>
      </div>
    </div>
  );
}

function statusOf(state: RunState, refinement: Refinement): ProposalStatus {
  if (state.terminal !== undefined) return (["failed", "completed", "failed", "cancelled"] as const)[state.terminal.outcome];
  if (state.question !== undefined) return "awaiting_input";
  return refinement.status === "queued" && state.seq <= 1 ? "queued" : "processing";
}

/** Say what a person who does not see the page must know. */
function useAnnouncements(status: ProposalStatus, state: RunState): void {
  useEffect(() => {
    if (state.seq === 0) return;
    const files = state.terminal === undefined ? "" : `, ${plural(state.terminal.fileCount, "file")}`;
    announce(status === "awaiting_input" ? "The agent asks a question." : `The run is ${status}${files}.`);
  }, [status, state.seq === 0]);
}

function Elapsed({ state }: { state: RunState }) {
  const now = useNow(1000);
  if (state.startedAt === undefined) return null;
  const end = state.endedAt?.getTime() ?? now;
  return (
    <span>
      <span class="unseen">Elapsed time </span>
      <span class="mono">{duration(end - state.startedAt.getTime())}</span>
    </span>
  );
}

/** The same ones at all times: a link that went away while it has the focus would take the focus with it. */
function Links({ refinement: { thread_id, proposal_id } }: { refinement: Refinement }) {
  return (
    <nav class="row" aria-label="This refinement">
      <a href={`#/proposals/${proposal_id}`} class="button">
        Review
      </a>
      <a href={`#/runs/${thread_id}/history`} class="button">
        History
      </a>
      <a href={`#/inspector/${thread_id}`} class="button">
        Inspector
      </a>
    </nav>
  );
}

function Waiting({ refinement, status }: { refinement: Refinement; status: ProposalStatus }) {
  const other = useResource(
    async (signal) =>
      refinement.waits_for_proposal_id === null
        ? undefined
        : await hub.proposals.get(refinement.waits_for_proposal_id, { view: "basic" }, { signal }),
    [refinement.waits_for_proposal_id],
  ) as Resource<{ thread_id: string; user_prompt: string } | undefined>;
  if (status !== "queued" || other.value === undefined) return null;
  return (
    <p class="notice">
      <span>
        It starts once <a href={`#/runs/${other.value.thread_id}`}>{promptText(other.value.user_prompt).slice(0, 80)}</a> has ended.
      </span>
    </p>
  );
}

interface OutcomeProps {
  state: RunState;
  proposalId: string;
  /** Of the proposal; null while it is open. */
  resolution: string | null;
}

function Outcome({ state: { terminal }, proposalId, resolution }: OutcomeProps) {
  if (terminal === undefined) return null;
  if (terminal.reason === "")
    return (
      <div class="notice good row">
        <span class="grow">
          The run completed with {plural(terminal.fileCount, "file")}.{resolution !== null && ` The proposal was ${resolution}.`}
        </span>
        <a href={`#/proposals/${proposalId}`} class="button primary">
          {resolution === null ? "Review the proposal" : "See the proposal"}
        </a>
      </div>
    );
  return (
    <p class="notice bad">
      <span>
        {terminal.message} <code>{printable(terminal.reason)}</code>
      </span>
    </p>
  );
}

function CancelButton({ threadId }: { threadId: string }) {
  const [asking, setAsking] = useState(false);
  const [state, setState] = useState<{ busy?: boolean; error?: unknown }>({});
  const cancel = async () => {
    setState({ busy: true });
    try {
      await hub.refinements.cancel(threadId);
      setAsking(false);
    } catch (error) {
      setState({ error });
    }
  };
  return (
    <>
      <Button kind="danger" onClick={() => setAsking(true)}>
        Cancel the run
      </Button>
      {asking && (
        <Dialog title="Cancel the run?" onClose={() => setAsking(false)}>
          <p>The agent stops. The files that it has written so far stay in the proposal.</p>
          {state.error !== undefined && <Failed error={state.error} />}
          <div class="row">
            <Button kind="danger" busy={state.busy === true ? "Cancelling …" : undefined} onClick={cancel}>
              Cancel the run
            </Button>
            <Button onClick={() => setAsking(false)}>Let it run</Button>
          </div>
        </Dialog>
      )}
    </>
  );
}
