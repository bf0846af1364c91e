import { fromJson, type JsonValue } from "@bufbuild/protobuf";
import type { FollowOptions } from "./connection.js";
import { readable } from "./fault.js";
import { follow } from "./follow.js";
import { EventSchema, type Event } from "./gen/ide_orchestrator/v1/event_pb.js";
import { endless, Pages } from "./pages.js";
import { newRequestId, type HttpClient } from "./http.js";
import type {
  FileAt,
  FileBlame,
  OnceOptions,
  Options,
  Query,
  Refinement,
  ReplyToInputRequest,
  StartedRefinement,
  StartRefinementRequest,
} from "./resources.js";

/** Refinements: the runs of an agent, and their events. */
export class Refinements {
  constructor(private readonly http: HttpClient) {}

  /** Start one run, even if responses are lost: each attempt has the same request id. */
  start(
    workflowId: string,
    request: StartRefinementRequest,
    { signal, requestId = newRequestId() }: OnceOptions = {},
  ): Promise<StartedRefinement> {
    return this.http.json("POST", `/api/workflows/${encodeURIComponent(workflowId)}/refinements`, {
      body: request,
      requestId,
      signal,
    });
  }

  get(threadId: string, { signal }: Options = {}): Promise<Refinement> {
    return this.http.json("GET", `/api/refinements/${encodeURIComponent(threadId)}`, { signal });
  }

  cancel(threadId: string, { signal }: Options = {}): Promise<Refinement> {
    return this.http.json("POST", `/api/refinements/${encodeURIComponent(threadId)}/cancel`, { signal });
  }

  /** Answer the agent's question: that of the `input_requested` event with this seq. The run continues. */
  reply(
    threadId: string,
    request: ReplyToInputRequest,
    { signal, requestId = newRequestId() }: OnceOptions = {},
  ): Promise<Refinement> {
    return this.http.json("POST", `/api/refinements/${encodeURIComponent(threadId)}/reply`, {
      body: request,
      requestId,
      signal,
    });
  }

  /**
   * Its events after the cursor, each once and in order, then each new one, until the terminal event. Connects
   * again whenever a connection breaks. Ending the loop closes the connection.
   */
  follow(threadId: string, options: FollowOptions = {}): AsyncGenerator<Event, void, undefined> {
    return follow(this.http, threadId, options);
  }

  /** The events that there are now, after the cursor. Each page is read when the one before has been used. */
  async *events(
    threadId: string,
    { after = 0, signal }: { after?: number; signal?: AbortSignal } = {},
  ): AsyncGenerator<Event, void, undefined> {
    const pages = new Pages();
    for (;;) {
      const page: { items: JsonValue[] } = await this.http.json(
        "GET",
        `/api/refinements/${encodeURIComponent(threadId)}/events`,
        {
          query: { after, limit: 1000 },
          signal,
        },
      );
      const items = pages.itemsOf(page);
      if (items.length === 0) return;
      for (const item of items) {
        const event = readable(() => fromJson(EventSchema, item, { ignoreUnknownFields: true }));
        if (event.seq <= after) throw endless();
        after = event.seq;
        yield event;
      }
    }
  }

  /** The files as they were after the event `seq`, by default after the newest one, in path order. */
  files(
    threadId: string,
    query: Query<"listFilesAt"> = {},
    { signal }: Options = {},
  ): AsyncGenerator<FileAt, void, undefined> {
    return this.http.items(`/api/refinements/${encodeURIComponent(threadId)}/files`, query, signal);
  }

  /** A content that a file had after any event. */
  content(threadId: string, sha256: string, { signal }: Options = {}): Promise<Uint8Array> {
    const path = `/api/refinements/${encodeURIComponent(threadId)}/files/${encodeURIComponent(sha256)}`;
    return this.http.bytes(path, { signal });
  }

  /** The events that wrote the lines of a file, as it was after the event `seq`. Reads all ranges. */
  async blame(threadId: string, query: Query<"blameFile">, { signal }: Options = {}): Promise<FileBlame> {
    const path = `/api/refinements/${encodeURIComponent(threadId)}/blame`;
    const blame: FileBlame = await this.http.json("GET", path, { query, signal });
    while (blame.next_line !== null) {
      // The newest event may have changed: the further pages are of the one that the first page names.
      const page: FileBlame = await this.http.json("GET", path, {
        query: { ...query, seq: blame.seq, first_line: blame.next_line },
        signal,
      });
      if (page.next_line !== null && !(page.next_line > blame.next_line)) throw endless();
      blame.ranges.push(...page.ranges);
      blame.next_line = page.next_line;
      blame.truncated ||= page.truncated;
    }
    return blame;
  }
}
