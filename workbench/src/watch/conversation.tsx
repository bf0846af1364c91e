// What was said, newest last. It stays at the end while it grows, until a person scrolls up.

import { MessageRole, type AgentMessage } from "@bizmatters/ide-orchestrator";
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
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
  const content = useRef<HTMLDivElement>(null);
  const [atEnd, setAtEnd] = useState(true);
  const follows = useRef(true);
  const top = useRef(0);
  const [limit, setLimit] = useState(SHOWN);
  const messages = state.messages.filter((message) => !isPaired(message, state));
  const hidden = Math.max(0, messages.length - limit);
  const toEnd = () => {
    follows.current = true;
    setAtEnd(true);
    box.current!.scrollTop = box.current!.scrollHeight;
  };
  useLayoutEffect(() => {
    if (follows.current) box.current!.scrollTop = box.current!.scrollHeight;
  }, [revision]);
  useEffect(() => {
    // The height of a message is known only once it was drawn.
    const observer = new ResizeObserver(() => {
      if (follows.current) box.current!.scrollTop = box.current!.scrollHeight;
    });
    observer.observe(content.current!);
    return () => observer.disconnect();
  }, []);
  const onScroll = ({ currentTarget: { scrollHeight, scrollTop, clientHeight } }: { currentTarget: HTMLElement }) => {
    const near = scrollHeight - scrollTop - clientHeight < NEAR;
    // What grows below moves nothing: only a person scrolls up.
    if (near || scrollTop < top.current) follows.current = near;
    top.current = scrollTop;
    setAtEnd(follows.current);
  };
  return (
    <section class="conversation" aria-label="Conversation">
      <div ref={box} class="scroll" tabIndex={0} role="region" aria-label="Messages" onScroll={onScroll}>
        <div ref={content}>
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
      </div>
      {!atEnd && (
        <Button kind="primary" onClick={toEnd}>
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
