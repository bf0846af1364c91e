// What is known of a run after an event: its conversation, todos, files, and how it ended.

import {
  FileChangeKind,
  MessageRole,
  type AgentMessage,
  type ContentPart,
  type Event,
  type FileChange,
  type InputRequested,
  type StateUpdate,
  type Terminal,
  type Todo,
  type Token,
} from "@bizmatters/ide-orchestrator";

/** A message while it is said. It is replaced by the message of the state with its id. */
export interface Draft {
  id: string;
  role: MessageRole;
  name: string;
  text: string;
  /** Characters at the start of the text that were dropped. */
  dropped: number;
  parts: ContentPart[];
  calls: Map<number, { id: string; name: string; arguments: string }>;
  /** Grows with each piece. */
  revision: number;
}

/** Tokens of an agent that the agent has called, by the namespace in which it runs. */
export interface SubAgent {
  namespace: string;
  drafts: Map<string, Draft>;
  tokens: number;
  revision: number;
}

export interface RunFile {
  key: string;
  path: string;
  change: "added" | "modified" | "deleted";
  /** Undefined for bytes, and for a content that its event did not have. */
  text: string | undefined;
  sha256: string;
  bytes: number;
  /** The event of the last change. */
  seq: number;
}

export interface Question {
  seq: number;
  asked: InputRequested;
}

/** Characters of a sub-agent's message that are kept. Nothing replaces them later. */
const MAX_SUB_AGENT_TEXT = 50_000;

export class RunState {
  seq = 0;
  proposalId = "";
  workflowId = "";
  messages: AgentMessage[] = [];
  /** The answers of tools, by the call that they answer. */
  answers = new Map<string, AgentMessage>();
  /** The ids of the tool calls in messages. */
  calls = new Set<string>();
  drafts = new Map<string, Draft>();
  subAgents = new Map<string, SubAgent>();
  todos: readonly Todo[] = [];
  /** Replaced when a file changes. */
  files: readonly RunFile[] = [];
  question: Question | undefined;
  terminal: Terminal | undefined;
  startedAt: Date | undefined;
  endedAt: Date | undefined;
  tokens = 0;
  /** Where events of the runtime may be missing. */
  discontinuities = 0;
  readonly #files = new Map<string, RunFile>();

  /** Take the next event. */
  apply(event: Event): void {
    const { kind } = event;
    this.seq = event.seq;
    switch (kind.case) {
      case "runStarted":
        this.proposalId = kind.value.proposalId;
        this.workflowId = kind.value.workflowId;
        this.startedAt = timeOf(event);
        break;
      case "token":
        this.tokens++;
        this.#applyToken(kind.value);
        break;
      case "stateUpdate":
        this.#applyState(kind.value, event.seq);
        break;
      case "inputRequested":
        this.question = { seq: event.seq, asked: kind.value };
        break;
      case "inputAnswered":
        this.question = undefined;
        break;
      case "discontinuity":
        // Pieces may be missing. State updates stay exact.
        this.drafts.clear();
        this.discontinuities++;
        break;
      case "terminal":
        this.terminal = kind.value;
        this.question = undefined;
        this.endedAt = timeOf(event);
        break;
    }
  }

  #applyToken(token: Token): void {
    let drafts = this.drafts;
    let limit = Infinity;
    if (token.namespace !== "") {
      const agent = this.#subAgent(token.namespace);
      agent.tokens++;
      agent.revision++;
      drafts = agent.drafts;
      limit = MAX_SUB_AGENT_TEXT;
    }
    let draft = drafts.get(token.messageId);
    if (draft === undefined) {
      const { messageId: id, role, name } = token;
      draft = { id, role, name, text: "", dropped: 0, parts: [], calls: new Map(), revision: 0 };
      drafts.set(id, draft);
    }
    draft.revision++;
    draft.text += token.text;
    if (draft.text.length > 2 * limit) {
      draft.dropped += draft.text.length - limit;
      draft.text = draft.text.slice(-limit);
    }
    for (const part of token.parts) addPart(draft.parts, part);
    for (const { index, id, name, arguments: piece } of token.toolCalls) {
      const call = draft.calls.get(index);
      if (call === undefined) draft.calls.set(index, { id, name, arguments: piece });
      else call.arguments += piece;
    }
  }

  #subAgent(namespace: string): SubAgent {
    // `task:1|model:2` is a node of the agent that runs in `task:1`.
    const key = namespace.split("|", 1)[0]!;
    let agent = this.subAgents.get(key);
    if (agent === undefined) {
      agent = { namespace: key, drafts: new Map(), tokens: 0, revision: 0 };
      this.subAgents.set(key, agent);
    }
    return agent;
  }

  #applyState(update: StateUpdate, seq: number): void {
    for (const { index, message } of update.messages) {
      if (message === undefined) continue;
      this.messages[index] = message;
      this.drafts.delete(message.id);
      for (const { id } of message.toolCalls) this.calls.add(id);
      if (message.toolCallId !== "") this.answers.set(message.toolCallId, message);
    }
    this.messages.length = update.messageCount;
    if (update.todos !== undefined) this.todos = update.todos.items;
    for (const file of update.files) this.#files.set(file.path, fileOf(file, seq, this.#files.get(file.path)));
    if (update.files.length > 0) this.files = [...this.#files.values()];
  }
}

function fileOf(file: FileChange, seq: number, before: RunFile | undefined): RunFile {
  const { path, sha256, sizeBytes, content } = file;
  const text = content.case === "text" ? content.value : undefined;
  return { key: path, path, change: changeOf(file, before), text, sha256, bytes: Number(sizeBytes), seq };
}

/** What the run did to a file altogether: one that it added and then modified is an added one. */
function changeOf({ kind }: FileChange, before: RunFile | undefined): RunFile["change"] {
  if (kind === FileChangeKind.DELETED) return "deleted";
  if (before === undefined) return kind === FileChangeKind.ADDED ? "added" : "modified";
  return before.change === "deleted" ? "modified" : before.change;
}

/** Thoughts, refusals and arguments come in pieces: those of one block belong together. */
function addPart(parts: ContentPart[], part: ContentPart): void {
  const last = parts.find(({ block, kind }) => part.block !== "" && block === part.block && kind.case === part.kind.case);
  const { kind } = part;
  if (last === undefined) parts.push(part);
  else if (kind.case === "thinking" && last.kind.case === "thinking") last.kind.value.text += kind.value.text;
  else if (kind.case === "refusal" && last.kind.case === "refusal") last.kind.value.text += kind.value.text;
  else if (kind.case === "serverToolCall" && last.kind.case === "serverToolCall")
    last.kind.value.arguments += kind.value.arguments;
  else parts.push(part);
}

function timeOf({ createTime }: Event): Date | undefined {
  return createTime && new Date(Number(createTime.seconds) * 1000 + createTime.nanos / 1e6);
}
