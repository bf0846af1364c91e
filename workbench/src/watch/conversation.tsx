// What was said, newest last. It stays at the end while it grows, until a person scrolls up.

import { MessageRole, type AgentMessage } from "@bizmatters/ide-orchestrator";
import { useLayoutEffect, useRef, useState } from "preact/hooks";
import { Button } from "../components/button.js";
import { count } from "../components/format.js";
import { Empty } from "../components/states.js";
import { DraftMessage, Message } from "./message.js";
import type { RunState } from "./run-state.js";

/** Messages that are on the page at first, and that are added by a click. */
const SHOWN = 100;
/** Pixels from the end at which the conversation still counts as read to its end. */
const NEAR = 48;

export function Conversation({ state, revision }: { state: RunState; revision: number }) {
  const box = useRef<HTMLDivElement>(null);
  const [atEnd, setAtEnd] = useState(true);
  const [limit, setLimit] = useState(SHOWN);
  const messages = state.messages.filter((message) => !isPaired(message, state));
  const hidden = Math.max(0, messages.length - limit);
  useLayoutEffect(() => {
    if (atEnd) box.current!.scrollTop = box.current!.scrollHeight;
  }, [revision, atEnd]);
  const onScroll = ({ currentTarget: { scrollHeight, scrollTop, clientHeight } }: { currentTarget: HTMLElement }) =>
    setAtEnd(scrollHeight - scrollTop - clientHeight < NEAR);
  return (
    <section class="conversation" aria-label="Conversation">
      <div ref={box} class="scroll" tabIndex={0} role="region" aria-label="Messages" onScroll={onScroll}>
        {hidden > 0 && (
          <Button kind="quiet" onClick={() => setLimit(limit + SHOWN)}>
            Show {count(Math.min(SHOWN, hidden))} of {count(hidden)} earlier messages
          </Button>
        )}
        {messages.slice(hidden).map((message, index) => (
          <Message
            key={hidden + index}
            message={message}
            answers={message.toolCalls.map(({ id }) => state.answers.get(id))}
          />
        ))}
        {[...state.drafts.values()].map((draft) => (
          <DraftMessage key={`draft ${draft.id}`} draft={draft} revision={draft.revision} />
        ))}
        {state.messages.length === 0 && state.drafts.size === 0 && <Empty>Nothing has been said yet.</Empty>}
      </div>
      {!atEnd && (
        <Button kind="primary" onClick={() => setAtEnd(true)}>
          To the newest message
        </Button>
      )}
    </section>
  );
}

/** Whether the message is the answer to a tool call, which shows it. */
function isPaired({ role, toolCallId }: AgentMessage, { calls }: RunState): boolean {
  return role === MessageRole.TOOL && calls.has(toolCallId);
}
