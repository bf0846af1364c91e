// A tool call, while its arguments are written and afterwards, with the tool's answer.

import type { AgentMessage } from "@bizmatters/ide-orchestrator";
import { Badge } from "../components/badge.js";
import { Details } from "../components/details.js";
import { LongText } from "../components/long-text.js";
import { printable } from "../components/printable.js";

interface ToolCallProps {
  name: string;
  /** JSON text, or the beginning of one. */
  args: string;
  answer?: AgentMessage | undefined;
  /** Whether the arguments are still being written. */
  growing?: boolean;
}

export function ToolCall({ name, args, answer, growing = false }: ToolCallProps) {
  const failed = answer?.status === "error";
  const summary = (
    <>
      <code>{printable(name) || "…"}</code> <span class="quiet gist">{gist(args)}</span>
      {growing ? (
        <Badge tone="busy">writing</Badge>
      ) : answer === undefined ? (
        <Badge tone="busy">called</Badge>
      ) : (
        <Badge tone={failed ? "bad" : "good"}>{failed ? "failed" : "done"}</Badge>
      )}
    </>
  );
  return (
    <Details summary={summary}>
      {() => (
        <>
          <h4>Arguments</h4>
          <div class="mono">
            <LongText text={pretty(args)} end={growing} />
          </div>
          {answer !== undefined && (
            <>
              <h4>Answer</h4>
              <div class="mono">
                <LongText text={answer.text} />
              </div>
            </>
          )}
        </>
      )}
    </Details>
  );
}

/** Arguments that say the most about a call. */
const TELLING = /"(?:file_path|path|description|query|command|url|pattern)"\s*:\s*("(?:[^"\\]|\\.){0,200}"?)/;

/** A few words of the arguments, also of unfinished ones. */
function gist(args: string): string {
  const found = TELLING.exec(args.slice(0, 2_000))?.[1];
  if (found === undefined) return "";
  try {
    return printable(String(JSON.parse(found.endsWith('"') ? found : `${found}"`)));
  } catch {
    return printable(found);
  }
}

/** JSON over several lines; any other text as it is. */
export function pretty(json: string): string {
  if (json.length > 200_000) return json;
  try {
    return JSON.stringify(JSON.parse(json), null, 2);
  } catch {
    return json;
  }
}
