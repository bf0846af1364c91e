// What a view shows while it has nothing to show: loading, empty, failed.

import { ProblemError } from "@bizmatters/ide-orchestrator";
import type { ComponentChildren } from "preact";
import { Button } from "./button.js";
import { useTitle } from "./title.js";

/** @param what Such as "the proposal". */
export function Loading({ what }: { what: string }) {
  return (
    <p class="state" role="status">
      Loading {what} …
    </p>
  );
}

export function Empty({ children }: { children: ComponentChildren }) {
  return <p class="state quiet">{children}</p>;
}

interface FailedProps {
  error: unknown;
  retry?: (() => void) | undefined;
}

/** An error in words, with the means to try again. */
export function Failed({ error, retry }: FailedProps) {
  const problem = error instanceof ProblemError ? error : undefined;
  return (
    <div class="notice bad" role="alert">
      <p>{messageOf(error)}</p>
      {problem?.problem !== undefined && (
        <p class="quiet">
          <a href={`/problems/${encodeURIComponent(problem.code)}`} target="_blank" rel="noreferrer">
            {problem.code}
          </a>
          {problem.traceId && <> · trace {problem.traceId}</>}
        </p>
      )}
      {retry !== undefined && <Button onClick={retry}>Try again</Button>}
    </div>
  );
}

/** A view that cannot be shown. @param what Such as "The proposal". */
export function FailedView({ what, error, retry }: FailedProps & { what: string }) {
  useTitle(what);
  return (
    <section class="view">
      <h1>{what} cannot be shown</h1>
      <Failed error={error} retry={retry} />
      <p>
        <a href="#/">Go to your workflows</a>
      </p>
    </section>
  );
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
