import { Drafts } from "./drafts.js";
import { HttpClient, type CallOptions, type HubOptions } from "./http.js";
import { Proposals } from "./proposals.js";
import { Refinements } from "./refinements.js";
import type { Options, ServerInfo, User } from "./resources.js";
import { Workflows } from "./workflows.js";

/** A hub, as one user sees it. Every call throws ProblemError when the hub refuses, UnreachableError when it cannot be reached. */
export class Hub {
  readonly workflows: Workflows;
  readonly drafts: Drafts;
  readonly refinements: Refinements;
  readonly proposals: Proposals;
  readonly #http: HttpClient;

  constructor(options: HubOptions) {
    this.#http = new HttpClient(options);
    this.workflows = new Workflows(this.#http);
    this.drafts = new Drafts(this.#http);
    this.refinements = new Refinements(this.#http);
    this.proposals = new Proposals(this.#http);
  }

  /** What the hub offers, and the limits of one caller. */
  info({ signal }: Options = {}): Promise<ServerInfo> {
    return this.#http.json("GET", "/api/info", { signal });
  }

  /** The user of the token. */
  me({ signal }: Options = {}): Promise<User> {
    return this.#http.json("GET", "/api/me", { signal });
  }

  /** A call of the HTTP interface that has no method here, such as those of share links and webhooks. */
  call<T>(method: string, path: string, options: CallOptions = {}): Promise<T> {
    return this.#http.call(
      method,
      path,
      options,
      async (answer) => (answer.status === 204 ? undefined : await answer.json()) as T,
    );
  }
}
