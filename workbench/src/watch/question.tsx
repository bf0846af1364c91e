// The agent's question, and the reply to it.

import type { InputAction } from "@bizmatters/ide-orchestrator";
import { useState } from "preact/hooks";
import { announce } from "../components/announce.js";
import { Button } from "../components/button.js";
import { dateTime } from "../components/format.js";
import { LongText } from "../components/long-text.js";
import { printable } from "../components/printable.js";
import { Failed } from "../components/states.js";
import { hub } from "../hub.js";
import type { Question as Asked } from "./run-state.js";
import { pretty } from "./tool-call.js";

/** What may be decided where the question does not say it. */
const DECISIONS = ["approve", "edit", "reject"];

interface Reply {
  decision: string;
  edited: string;
  message: string;
}

interface QuestionProps {
  threadId: string;
  question: Asked;
  /** Whether the runtime can go on with a reply. */
  answerable: boolean;
}

export function Question({ threadId, question: { seq, asked }, answerable }: QuestionProps) {
  const [replies, setReplies] = useState<Reply[]>(asked.actions.map(firstReply));
  const [state, setState] = useState<{ busy?: boolean; error?: unknown }>({});
  const canReply = answerable && asked.actions.length > 0;
  const submit = async (event: Event) => {
    event.preventDefault();
    setState({ busy: true });
    try {
      const decisions = replies.map(({ decision, edited, message }) => ({
        decision,
        edited_arguments: decision === "edit" ? edited : "",
        message: decision === "edit" || decision === "approve" ? "" : message,
      }));
      await hub.refinements.reply(threadId, { seq, decisions });
      announce("The reply was sent. The run goes on.");
      setState({});
    } catch (error) {
      setState({ error });
    }
  };
  const expires = asked.expireTime && new Date(Number(asked.expireTime.seconds) * 1000);
  return (
    <form class="notice warn question" onSubmit={submit} aria-label="The agent's question">
      <h2>The agent asks before it goes on</h2>
      {expires !== undefined && <p class="quiet">Without a reply the run fails at {dateTime(expires)}, your time.</p>}
      {asked.actions.length === 0 && <LongText text={asked.request} />}
      {asked.actions.map((action, index) => (
        <Action
          key={index}
          action={action}
          reply={replies[index]!}
          canReply={canReply}
          onChange={(reply) => setReplies(replies.map((each, at) => (at === index ? reply : each)))}
        />
      ))}
      {state.error !== undefined && <Failed error={state.error} />}
      {canReply ? (
        <Button kind="primary" type="submit" busy={state.busy === true ? "Sending …" : undefined}>
          Send the reply
        </Button>
      ) : (
        <p>
          {answerable
            ? "This question has a form that cannot be replied to. Cancel the run to end it."
            : "This runtime cannot go on with a reply. Cancel the run to end it."}
        </p>
      )}
    </form>
  );
}

interface ActionProps {
  action: InputAction;
  reply: Reply;
  canReply: boolean;
  onChange: (reply: Reply) => void;
}

function Action({ action, reply, canReply, onChange }: ActionProps) {
  const edits = canReply && reply.decision === "edit";
  return (
    <fieldset class="action">
      <legend>
        <code>{printable(action.name)}</code>
      </legend>
      {action.description !== "" && (
        <div class="quiet">
          <LongText text={action.description} />
        </div>
      )}
      {edits ? (
        <label class="field">
          Arguments to use instead (JSON)
          <textarea
            class="mono"
            rows={8}
            spellcheck={false}
            value={reply.edited}
            onInput={({ currentTarget: { value } }) => onChange({ ...reply, edited: value })}
          />
        </label>
      ) : (
        <div class="mono">
          <LongText text={pretty(action.arguments)} />
        </div>
      )}
      {canReply && (
        <div class="row" role="radiogroup" aria-label={`Decision about ${printable(action.name)}`}>
          {allowed(action).map((decision) => (
            <label key={decision} class="choice">
              <input
                type="radio"
                checked={reply.decision === decision}
                onChange={() => onChange({ ...reply, decision })}
              />
              {printable(decision)}
            </label>
          ))}
        </div>
      )}
      {canReply && reply.decision !== "edit" && reply.decision !== "approve" && (
        <label class="field">
          Message to the agent
          <input value={reply.message} onInput={({ currentTarget: { value } }) => onChange({ ...reply, message: value })} />
        </label>
      )}
    </fieldset>
  );
}

function allowed({ allowedDecisions }: InputAction): readonly string[] {
  return allowedDecisions.length > 0 ? allowedDecisions : DECISIONS;
}

function firstReply(action: InputAction): Reply {
  return { decision: allowed(action)[0]!, edited: pretty(action.arguments), message: "" };
}
