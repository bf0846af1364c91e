// The refinements of a workflow, newest first.

import type { Proposal } from "@bizmatters/ide-orchestrator";
import { useEffect, useState } from "preact/hooks";
import { StatusBadge } from "../components/badge.js";
import { Button } from "../components/button.js";
import { dateTime, plural } from "../components/format.js";
import { promptText } from "../components/prompt.js";
import { useResource } from "../components/resource.js";
import { Empty, Failed, Loading } from "../components/states.js";
import { hub } from "../hub.js";

/** Entries that are read at first, and with each click. */
const STEP = 25;
const PAUSE_MS = 300;

export function RefinementList({ workflowId }: { workflowId: string }) {
  const [limit, setLimit] = useState(STEP);
  const [words, setWords] = useState("");
  const text = useSettled(words);
  const found = useResource((signal) => read(workflowId, text, limit, signal), [workflowId, text, limit]);
  return (
    <section class="panel stack refinements" aria-label="Refinements">
      <div class="row">
        <h2 class="grow">Refinements</h2>
        <input
          type="search"
          class="search"
          aria-label="Find refinements by their prompt"
          placeholder="Find by prompt"
          value={words}
          onInput={({ currentTarget: { value } }) => setWords(value)}
        />
        <Button onClick={found.reload}>Refresh</Button>
      </div>
      {found.error !== undefined && <Failed error={found.error} retry={found.reload} />}
      {found.value === undefined ? (
        found.loading && <Loading what="the refinements" />
      ) : found.value.items.length === 0 ? (
        <Empty>{text === "" ? "Nothing was started yet. What you start is listed here, with its proposal." : "No prompt has these words."}</Empty>
      ) : (
        <ul class="list">
          {found.value.items.map((proposal) => (
            <Entry key={proposal.id} proposal={proposal} />
          ))}
        </ul>
      )}
      {found.value?.more === true && <Button onClick={() => setLimit(limit + STEP)}>Show more</Button>}
    </section>
  );
}

function Entry({ proposal }: { proposal: Proposal }) {
  const { id, thread_id, status, resolution, user_prompt, created_at, file_count } = proposal;
  return (
    <li class="refinement">
      <a class="grow" href={`#/runs/${thread_id}`}>
        {promptText(user_prompt)}
      </a>
      <span class="row">
        <StatusBadge status={resolution ?? status} />
        <span class="quiet">
          {dateTime(created_at)} · {plural(file_count, "file")}
        </span>
        <a href={`#/proposals/${id}`}>Review</a>
      </span>
    </li>
  );
}

async function read(workflowId: string, text: string, limit: number, signal: AbortSignal): Promise<{ items: Proposal[]; more: boolean }> {
  const items: Proposal[] = [];
  const query = { workflow_id: workflowId, limit: STEP, ...(text !== "" && { text }) };
  for await (const proposal of hub.proposals.list(query, { signal })) {
    if (items.length === limit) return { items, more: true };
    items.push(proposal);
  }
  return { items, more: false };
}

/** A value that follows another once it no longer changes. */
function useSettled<T>(value: T): T {
  const [settled, setSettled] = useState(value);
  useEffect(() => {
    const timer = setTimeout(() => setSettled(value), PAUSE_MS);
    return () => clearTimeout(timer);
  }, [value]);
  return settled;
}
