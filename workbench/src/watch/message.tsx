// A message of the conversation, finished or while it is said.

import { MessageRole, type AgentMessage } from "@bizmatters/ide-orchestrator";
import { Badge } from "../components/badge.js";
import { Details } from "../components/details.js";
import { LongText } from "../components/long-text.js";
import { memo } from "../components/memo.js";
import { printable } from "../components/printable.js";
import { ContentParts } from "./content-parts.js";
import type { Draft } from "./run-state.js";
import { ToolCall } from "./tool-call.js";

const AUTHORS: Record<MessageRole, string> = {
  [MessageRole.UNSPECIFIED]: "Unknown",
  [MessageRole.HUMAN]: "Person",
  [MessageRole.AI]: "Agent",
  [MessageRole.TOOL]: "Tool",
  [MessageRole.SYSTEM]: "System",
};

interface MessageProps {
  message: AgentMessage;
  /** The answers to the message's tool calls, in their order. */
  answers: readonly (AgentMessage | undefined)[];
}

function FinishedMessage({ message, answers }: MessageProps) {
  return (
    <article class={`message role-${message.role}`}>
      <Author role={message.role} name={message.name} />
      {message.uninterpreted && <Badge tone="warn">not fully understood</Badge>}
      {message.text !== "" && <LongText text={message.text} />}
      <ContentParts parts={message.parts} />
      {message.toolCalls.map((call, index) => (
        <ToolCall key={index} name={call.name} args={call.arguments} answer={answers[index]} />
      ))}
      {message.invalidToolCalls.map((call, index) => (
        <Details
          key={index}
          summary={
            <>
              <code>{printable(call.name)}</code> <Badge tone="bad">not valid</Badge>
            </>
          }
        >
          {() => (
            <>
              <p>{call.error}</p>
              <LongText text={call.arguments} />
            </>
          )}
        </Details>
      ))}
    </article>
  );
}

/** The answers are compared one by one, because their list is made anew each time. */
const Finished = memo(({ message, ...answers }: { message: AgentMessage } & Record<`answer${number}`, AgentMessage>) => (
  <FinishedMessage message={message} answers={Object.values(answers)} />
));

export function Message({ message, answers }: MessageProps) {
  const named = Object.fromEntries(answers.map((answer, index) => [`answer${index}`, answer]));
  return <Finished message={message} {...named} />;
}

interface DraftProps {
  draft: Draft;
  /** That of the draft: says when it is another. */
  revision: number;
}

export const DraftMessage = memo(({ draft }: DraftProps) => (
  <article class={`message draft role-${draft.role}`}>
    <Author role={draft.role} name={draft.name} />
    {draft.dropped > 0 && <p class="quiet">The beginning is left out.</p>}
    {draft.text !== "" && <LongText text={draft.text} end />}
    <ContentParts parts={[...draft.parts]} />
    {[...draft.calls.values()].map((call, index) => (
      <ToolCall key={index} name={call.name} args={call.arguments} growing />
    ))}
  </article>
));

function Author({ role, name }: { role: MessageRole; name: string }) {
  return (
    <h3 class="author">
      {AUTHORS[role]}
      {name !== "" && <span class="quiet"> {printable(name)}</span>}
    </h3>
  );
}
