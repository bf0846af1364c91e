// The first view: the user's workflows.

import { hub } from "../hub.js";
import { Empty, Failed, Loading } from "../components/states.js";
import { printable } from "../components/printable.js";
import { all, useResource } from "../components/resource.js";

export default function StartView() {
  const workflows = useResource((signal) => all(hub.workflows.list({}, { signal })), []);
  return (
    <section class="view">
      <h1>Workflows</h1>
      {workflows.error !== undefined && <Failed error={workflows.error} retry={workflows.reload} />}
      {workflows.value === undefined ? (
        workflows.loading && <Loading what="your workflows" />
      ) : workflows.value.length === 0 ? (
        <Empty>You have no workflow yet.</Empty>
      ) : (
        <ul class="list">
          {workflows.value.map((workflow) => (
            <li key={workflow.id}>
              <a href={`#/drafts/${workflow.id}`}>{printable(workflow.name)}</a>
            </li>
          ))}
        </ul>
      )}
    </section>
  );
}
