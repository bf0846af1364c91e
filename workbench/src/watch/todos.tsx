import type { Todo } from "@bizmatters/ide-orchestrator";
import { Badge, type Tone } from "../components/badge.js";
import { memo } from "../components/memo.js";
import { Empty } from "../components/states.js";

const TONES: Record<string, Tone> = { completed: "good", in_progress: "busy" };

/** Drawn again only when the list has changed. */
export const Todos = memo(({ todos }: { todos: readonly Todo[] }) => {
  const done = todos.filter(({ status }) => status === "completed").length;
  return (
    <section class="panel" aria-label="Todos">
      <h2>
        Todos {todos.length > 0 && <span class="quiet">{`${done} of ${todos.length}`}</span>}
      </h2>
      {todos.length === 0 ? (
        <Empty>There is no list of todos yet.</Empty>
      ) : (
        <ol class="todos">
          {todos.map(({ content, status }, index) => (
            <li key={index} class={status === "completed" ? "quiet" : ""}>
              <span class="grow">{content}</span>
              <Badge tone={TONES[status] ?? "neutral"}>{status.replaceAll("_", " ")}</Badge>
            </li>
          ))}
        </ol>
      )}
    </section>
  );
});
