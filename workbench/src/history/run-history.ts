// A run looked back at: its events in short, and its files after any of them.

import type { Event, FileAt } from "@bizmatters/ide-orchestrator";
import { computed, signal } from "@preact/signals";
import { timeOfDay } from "../components/format.js";
import { all } from "../components/resource.js";
import { hub } from "../hub.js";

/** An event that changes files, or at which something happens that people look for. */
export interface Mark {
  seq: number;
  /** What happens there, such as "3 files". */
  text: string;
  files: boolean;
}

/** What an event is, in short. */
interface Short {
  text: string;
  time: Date | undefined;
}

export class RunHistory {
  /** The seq of the newest event that was read. */
  readonly newest = signal(0);
  readonly marks = signal<readonly Mark[]>([]);
  /** Whether all events were read, the terminal one included. */
  readonly ended = signal(false);
  readonly error = signal<unknown>();
  /** The event that is looked at; undefined for the newest, also when there are new ones. */
  readonly chosen = signal<number>();
  readonly seq = computed(() => Math.min(this.chosen.value ?? this.newest.value, this.newest.value));
  /** The last event up to the chosen one that changes files: the files are the same in between. */
  readonly changedAt = computed(() => {
    const seq = this.seq.value;
    let found: number | undefined;
    for (const mark of this.marks.value) if (mark.files && mark.seq <= seq) found = mark.seq;
    return found;
  });

  readonly #shorts: Short[] = [];
  readonly #tools = new Map<string, string>();
  readonly #marks: Mark[] = [];
  readonly #trees = new Map<number, Promise<FileAt[]>>();
  readonly #abort = new AbortController();
  #frame: number | undefined;

  constructor(
    readonly thread: string,
    chosen: number | undefined,
  ) {
    this.chosen.value = chosen;
  }

  async start(): Promise<void> {
    const { signal } = this.#abort;
    this.error.value = undefined;
    try {
      for await (const event of hub.refinements.follow(this.thread, { after: this.#shorts.length, signal }))
        this.#take(event);
      this.#show();
      this.ended.value = true;
    } catch (error) {
      if (!signal.aborted) this.error.value = error;
    }
  }

  stop(): void {
    this.#abort.abort();
    if (this.#frame !== undefined) cancelAnimationFrame(this.#frame);
  }

  #take(event: Event): void {
    const text = this.#textOf(event);
    const files = event.kind.case === "stateUpdate" && event.kind.value.files.length > 0;
    const seconds = event.createTime;
    this.#shorts[event.seq - 1] = {
      text,
      time: seconds === undefined ? undefined : new Date(Number(seconds.seconds) * 1000 + seconds.nanos / 1e6),
    };
    if (files || ["inputRequested", "inputAnswered", "discontinuity", "terminal"].includes(event.kind.case ?? ""))
      this.#marks.push({ seq: event.seq, text, files });
    // Once per frame, however many events come.
    this.#frame ??= requestAnimationFrame(() => this.#show());
  }

  #show(): void {
    this.#frame = undefined;
    this.marks.value = [...this.#marks];
    this.newest.value = this.#shorts.length;
  }

  #textOf({ kind }: Event): string {
    switch (kind.case) {
      case "runStarted":
        return "run started";
      case "token":
        return "token";
      case "stateUpdate": {
        for (const { message } of kind.value.messages)
          for (const call of message?.toolCalls ?? []) this.#tools.set(call.id, call.name);
        const { files, todos } = kind.value;
        if (files.length > 0) return files.length === 1 ? "1 file changed" : `${files.length} files changed`;
        return todos !== undefined ? "todos changed" : "messages changed";
      }
      case "inputRequested":
        return "the agent asks";
      case "inputAnswered":
        return "a person answered";
      case "discontinuity":
        return "frames may be missing before this";
      case "terminal":
        return "the run ended";
      default:
        return "other frame";
    }
  }

  /** An event in words, such as "event 37, 12:00:03: 1 file changed". */
  describe(seq: number): string {
    return [`event ${seq}`, this.happened(seq)].filter(Boolean).join(", ");
  }

  /** What happened at an event, such as "12:00:03: 1 file changed". */
  happened(seq: number): string {
    const short = this.#shorts[seq - 1];
    if (short === undefined) return "";
    return short.time === undefined ? short.text : `${timeOfDay(short.time)}: ${short.text}`;
  }

  /** The name of the tool that a call called; undefined for a call that no message has. */
  toolOf(call: string | null): string | undefined {
    return call === null ? undefined : this.#tools.get(call);
  }

  /** The event before or after the chosen one that changes files; undefined without one. */
  nextChange(step: 1 | -1): number | undefined {
    const marks = this.marks.value.filter(({ files }) => files);
    const seq = this.seq.value;
    return step === 1 ? marks.find((mark) => mark.seq > seq)?.seq : marks.reverse().find((mark) => mark.seq < seq)?.seq;
  }

  /** The files after an event. Each tree is read once. */
  tree(seq: number): Promise<FileAt[]> {
    let answer = this.#trees.get(seq);
    if (answer === undefined) {
      answer = all(hub.refinements.files(this.thread, { seq, limit: 1000 }));
      this.#trees.set(seq, answer);
      answer.catch(() => this.#trees.delete(seq));
    }
    return answer;
  }

  /** A file as it was before the event that wrote it last; undefined if there was none. */
  async before(file: FileAt): Promise<FileAt | undefined> {
    if (file.seq <= 1) return undefined;
    const found = await all(hub.refinements.files(this.thread, { seq: file.seq - 1, path: file.path }));
    return found[0];
  }
}
