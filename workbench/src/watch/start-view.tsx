// The first view: workflows, the form that starts a refinement, and those that were started.

import type { Workflow } from "@bizmatters/ide-orchestrator";
import { useEffect, useRef, useState } from "preact/hooks";
import { Badge } from "../components/badge.js";
import { Button } from "../components/button.js";
import { printable } from "../components/printable.js";
import { all, useResource } from "../components/resource.js";
import { FailedView, Loading } from "../components/states.js";
import { useTitle } from "../components/title.js";
import { hub } from "../hub.js";
import { address, replaceQuery } from "../router.js";
import { NewWorkflow } from "./new-workflow.js";
import { RefinementList } from "./refinement-list.js";
import { StartForm } from "./start-form.js";

export default function StartView() {
  useTitle("Workflows");
  const workflows = useResource((signal) => all(hub.workflows.list({}, { signal })), []);
  const [creating, setCreating] = useState(false);
  const wanted = address.value.query.get("workflow");
  // Nothing starts in those that are archived.
  const listed = workflows.value && [...workflows.value].sort((one, other) => Number(one.archived) - Number(other.archived));
  const chosen = listed?.find(({ id }) => id === wanted) ?? listed?.[0];
  useEffect(() => {
    // One that was created elsewhere, since the list was read.
    if (workflows.value !== undefined && wanted !== null && chosen?.id !== wanted) workflows.reload();
  }, [wanted]);
  const choose = (id: string) => replaceQuery({ workflow: id });
  if (workflows.error !== undefined) return <FailedView what="The list of workflows" error={workflows.error} retry={workflows.reload} />;
  if (workflows.value === undefined) return <Loading what="your workflows" />;
  return (
    <div class={chosen === undefined ? "view" : "view start"}>
      {chosen === undefined ? (
        <section class="panel welcome" aria-label="Workflows">
          <h1>You have no workflow yet.</h1>
          <p>A workflow has a draft: the files that an agent changes. You review what it proposes before the draft changes.</p>
          <Button kind="primary" onClick={() => setCreating(true)}>
            New workflow
          </Button>
        </section>
      ) : (
        <>
          <aside class="panel" aria-label="Workflows">
            <div class="row">
              <h1 class="grow">Workflows</h1>
              <Button aria-label="New workflow" onClick={() => setCreating(true)}>
                New …
              </Button>
            </div>
            <WorkflowList workflows={listed!} chosen={chosen.id} onChoose={choose} />
          </aside>
          <div class="stack" key={chosen.id}>
            <StartForm workflow={chosen} />
            <RefinementList workflowId={chosen.id} />
          </div>
        </>
      )}
      {creating && (
        <NewWorkflow
          onClose={() => setCreating(false)}
          onCreated={(workflow) => {
            setCreating(false);
            choose(workflow.id);
            workflows.set([workflow, ...workflows.value!]);
          }}
        />
      )}
    </div>
  );
}

interface WorkflowListProps {
  workflows: readonly Workflow[];
  /** The id of the one that is shown. */
  chosen: string;
  onChoose: (id: string) => void;
}

function WorkflowList({ workflows, chosen, onChoose }: WorkflowListProps) {
  const list = useRef<HTMLUListElement>(null);
  // Of many, the chosen one may be below those that can be seen.
  useEffect(() => list.current!.querySelector("[aria-current]")?.scrollIntoView({ block: "nearest" }), [chosen]);
  return (
    <ul ref={list} class="list scroll">
      {workflows.map(({ id, name, locked, archived }) => (
        <li key={id}>
          <button type="button" class="choose" aria-current={id === chosen ? "true" : undefined} onClick={() => onChoose(id)}>
            {printable(name)} {(locked || archived) && <Badge tone="warn">{archived ? "archived" : "locked"}</Badge>}
          </button>
        </li>
      ))}
    </ul>
  );
}
