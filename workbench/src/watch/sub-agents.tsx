// What agents say that the agent has called.

import { Badge } from "../components/badge.js";
import { Details } from "../components/details.js";
import { plural } from "../components/format.js";
import { printable } from "../components/printable.js";
import { DraftMessage } from "./message.js";
import type { SubAgent } from "./run-state.js";

/** Messages of one sub-agent that are on the page. */
const SHOWN = 20;

export function SubAgents({ agents }: { agents: readonly SubAgent[] }) {
  if (agents.length === 0) return null;
  return (
    <section class="panel" aria-label="Sub-agents">
      <h2>
        Sub-agents <span class="quiet">{agents.length}</span>
      </h2>
      {agents.map((agent, index) => (
        <Details
          key={agent.namespace}
          summary={
            <>
              <span class="gist">
                {index + 1}. <code>{printable(agent.namespace)}</code>
              </span>
              <Badge>{plural(agent.tokens, "token")}</Badge>
            </>
          }
        >
          {() =>
            [...agent.drafts.values()]
              .slice(-SHOWN)
              .map((draft) => <DraftMessage key={draft.id} draft={draft} revision={draft.revision} />)
          }
        </Details>
      ))}
    </section>
  );
}
