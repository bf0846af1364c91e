// The first view: workflows, the form that starts a refinement, and those that were started.

import { useState } from "preact/hooks";
import { Button } from "../components/button.js";
import { printable } from "../components/printable.js";
import { all, useResource } from "../components/resource.js";
import { Empty, Failed, Loading } from "../components/states.js";
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
  const chosen = workflows.value?.find(({ id }) => id === wanted) ?? workflows.value?.[0];
  const choose = (id: string) => replaceQuery({ workflow: id });
  if (workflows.error !== undefined) return <Failed error={workflows.error} retry={workflows.reload} />;
  if (workflows.value === undefined) return <Loading what="your workflows" />;
  return (
    <div class="view start">
      <aside class="panel" aria-label="Workflows">
        <div class="row">
          <h1 class="grow">Workflows</h1>
          <Button onClick={() => setCreating(true)}>New workflow</Button>
        </div>
        {workflows.value.length === 0 && <Empty>You have no workflow yet.</Empty>}
        <ul class="list scroll">
          {workflows.value.map(({ id, name, locked, archived }) => (
            <li key={id}>
              <button
                type="button"
                class="choose"
                aria-current={id === chosen?.id ? "true" : undefined}
                onClick={() => choose(id)}
              >
                {printable(name)}
                {(locked || archived) && <span class="quiet"> {archived ? "archived" : "locked"}</span>}
              </button>
            </li>
          ))}
        </ul>
      </aside>
      {chosen !== undefined && (
        <div class="stack" key={chosen.id}>
          <StartForm workflow={chosen} />
          <RefinementList workflowId={chosen.id} />
        </div>
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
