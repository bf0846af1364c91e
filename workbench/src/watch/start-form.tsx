// The form that starts a refinement: what is asked for, what it is about, and which recording is played.

import type { StartRefinementRequest, Workflow } from "@bizmatters/ide-orchestrator";
import { useState } from "preact/hooks";
import { Button } from "../components/button.js";
import { Details } from "../components/details.js";
import { printable } from "../components/printable.js";
import { useResource } from "../components/resource.js";
import { Failed } from "../components/states.js";
import { hub } from "../hub.js";
import { go } from "../router.js";
import { ContextPicker, type Context } from "./context-picker.js";
import { firstScenario, readRecordings, ScenarioPicker, withScenario, type Scenario } from "./scenarios.js";

const WHEN_BUSY = {
  parallel: "start beside it",
  enqueue: "wait until it has ended",
  refuse: "do not start",
  supersede: "cancel it",
} as const;
type WhenBusy = keyof typeof WHEN_BUSY;

export function StartForm({ workflow }: { workflow: Workflow }) {
  const info = useResource((signal) => hub.info({ signal }), []);
  const recordings = useResource((signal) => readRecordings(signal), []);
  const [prompt, setPrompt] = useState("");
  const [context, setContext] = useState<Context>({});
  const [scenario, setScenario] = useState<Scenario>();
  const [whenBusy, setWhenBusy] = useState<WhenBusy>();
  const [state, setState] = useState<{ busy?: boolean; error?: unknown }>({});
  const closed = workflow.archived ? "archived" : workflow.locked ? "locked" : undefined;
  const played = scenario ?? firstScenario(recordings.value ?? []);
  const start = async (event: Event) => {
    event.preventDefault();
    if (state.busy === true || closed !== undefined) return;
    setState({ busy: true });
    try {
      const request: StartRefinementRequest = {
        user_prompt: withScenario(prompt, played),
        context_file_path: context.path ?? null,
        context_selection: context.lines ?? null,
        when_busy: whenBusy ?? null,
      };
      const { thread_id } = await hub.refinements.start(workflow.id, request);
      go(`/runs/${thread_id}`);
    } catch (error) {
      setState({ error });
    }
  };
  const onKeyDown = (event: KeyboardEvent) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) void start(event);
  };
  return (
    <form class="panel stack" onSubmit={start} onKeyDown={onKeyDown} aria-label="Start a refinement">
      <div class="row">
        <h2 class="grow">Refine {printable(workflow.name)}</h2>
        <a href={`#/drafts/${workflow.id}`} class="button">
          Draft and versions
        </a>
      </div>
      <p class="quiet">An agent proposes changes to the draft. Nothing in it changes until you accept them.</p>
      <label class="field">
        What should change?
        <textarea
          rows={3}
          required
          value={prompt}
          placeholder="For example: Add web search"
          onInput={({ currentTarget: { value } }) => setPrompt(value)}
        />
      </label>
      <ContextPicker draftId={workflow.current_draft_id} context={context} onChange={setContext} />
      {recordings.value !== undefined && recordings.value.length > 0 && (
        <ScenarioPicker recordings={recordings.value} scenario={played!} onChange={setScenario} />
      )}
      <Details summary="If another refinement of the draft has not ended">
        {() => (
          <label class="field">
            This one should
            <select
              value={whenBusy ?? info.value?.when_busy ?? "parallel"}
              onChange={({ currentTarget: { value } }) => setWhenBusy(value as WhenBusy)}
            >
              {Object.entries(WHEN_BUSY).map(([value, name]) => (
                <option key={value} value={value}>
                  {name}
                </option>
              ))}
            </select>
          </label>
        )}
      </Details>
      {state.error !== undefined && <Failed error={state.error} />}
      <div class="row">
        <Button kind="primary" type="submit" disabled={closed !== undefined} busy={state.busy === true ? "Starting …" : undefined}>
          Start
        </Button>
        <span class="quiet">{closed === undefined ? "or Ctrl+Enter" : `The workflow is ${closed}: no refinement can be started.`}</span>
      </div>
    </form>
  );
}
