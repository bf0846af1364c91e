// The dialog that creates a workflow.

import type { CreateWorkflowRequest, Workflow } from "@bizmatters/ide-orchestrator";
import { useState } from "preact/hooks";
import { Button } from "../components/button.js";
import { Details } from "../components/details.js";
import { Dialog } from "../components/dialog.js";
import { Failed } from "../components/states.js";
import { hub } from "../hub.js";

interface NewWorkflowProps {
  onClose: () => void;
  onCreated: (workflow: Workflow) => void;
}

export function NewWorkflow({ onClose, onCreated }: NewWorkflowProps) {
  const [name, setName] = useState("");
  const [path, setPath] = useState("/THE_SPEC/constitution.md");
  const [text, setText] = useState("# Constitution\n");
  const [definition, setDefinition] = useState("");
  const [state, setState] = useState<{ busy?: boolean; error?: unknown }>({});
  const create = async (event: Event) => {
    event.preventDefault();
    setState({ busy: true });
    try {
      const request: CreateWorkflowRequest = { name };
      if (path.trim() !== "") request.files = { [path.trim()]: text };
      if (definition.trim() !== "") request.agent_definition = parsed(definition);
      onCreated(await hub.workflows.create(request));
    } catch (error) {
      setState({ error });
    }
  };
  return (
    <Dialog title="New workflow" onClose={onClose}>
      <form class="stack" onSubmit={create}>
        <label class="field">
          Name
          <input required autoFocus value={name} onInput={({ currentTarget: { value } }) => setName(value)} />
        </label>
        <label class="field">
          First file
          <input value={path} onInput={({ currentTarget: { value } }) => setPath(value)} />
        </label>
        <label class="field">
          Its text
          <textarea
            class="mono"
            rows={5}
            value={text}
            onInput={({ currentTarget: { value } }) => setText(value)}
          />
        </label>
        <Details summary="Agent definition, which a runtime with a real agent needs">
          {() => (
            <label class="field">
              JSON
              <textarea
                class="mono"
                rows={5}
                spellcheck={false}
                value={definition}
                onInput={({ currentTarget: { value } }) => setDefinition(value)}
              />
            </label>
          )}
        </Details>
        {state.error !== undefined && <Failed error={state.error} />}
        <div class="row">
          <Button kind="primary" type="submit" busy={state.busy === true ? "Creating …" : undefined}>
            Create
          </Button>
          <Button onClick={onClose}>Cancel</Button>
        </div>
      </form>
    </Dialog>
  );
}

function parsed(json: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(json);
    if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
  } catch {
    // Said below.
  }
  throw new Error("The agent definition must be a JSON object.");
}
