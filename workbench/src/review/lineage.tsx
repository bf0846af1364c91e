// The rounds of a proposal: what it revises, and what revises it.

import type { Proposal } from "@bizmatters/ide-orchestrator";
import { StatusBadge } from "../components/badge.js";
import { promptText } from "../components/prompt.js";
import { useResource } from "../components/resource.js";
import { hub } from "../hub.js";

/** Rounds that are shown before and after the proposal. */
const MAX_ROUNDS = 20;

/** The rounds, the first one first. */
export function useRounds(proposal: Proposal | undefined): Proposal[] {
  const read = useResource(
    async (signal) => {
      if (proposal === undefined) return [];
      const rounds = [proposal];
      for (
        let id = proposal.revises_proposal_id;
        id !== null && rounds.length < MAX_ROUNDS;
        id = rounds[0]!.revises_proposal_id
      )
        rounds.unshift(await hub.proposals.get(id, { view: "basic" }, { signal }));
      const before = rounds.length;
      for (let id = proposal.revised_by_proposal_id; id !== null && rounds.length < before + MAX_ROUNDS;) {
        const next = await hub.proposals.get(id, { view: "basic" }, { signal });
        rounds.push(next);
        id = next.revised_by_proposal_id;
      }
      return rounds;
    },
    [proposal?.id, proposal?.revised_by_proposal_id],
  );
  return read.value ?? (proposal === undefined ? [] : [proposal]);
}

export function Lineage({ rounds, current }: { rounds: Proposal[]; current: string }) {
  if (rounds.length < 2) return null;
  return (
    <nav aria-label="Rounds">
      <ol class="rounds">
        {rounds.map((round, index) => (
          <li>
            <a href={`#/proposals/${round.id}`} aria-current={round.id === current ? "page" : undefined}>
              Round {index + 1}
            </a>{" "}
            <StatusBadge status={round.resolution ?? round.status} />
            <span class="quiet round-prompt" title={promptText(round.user_prompt)}>
              {promptText(round.user_prompt)}
            </span>
          </li>
        ))}
      </ol>
    </nav>
  );
}
