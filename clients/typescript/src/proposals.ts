import { newRequestId, type HttpClient } from "./http.js";
import type {
  AcceptedProposal,
  AcceptProposalRequest,
  DiffPage,
  FileDecision,
  FileDiff,
  OnceOptions,
  Options,
  Proposal,
  Query,
  RejectProposalRequest,
  ReviseProposalRequest,
  StartedRefinement,
  Versioned,
} from "./resources.js";
import { textOf } from "./responses.js";

/** Proposals, and what is decided about them. Decisions take the proposal as it was read last: `etag` is checked. */
export class Proposals {
  constructor(private readonly http: HttpClient) {}

  /** A proposal, with its files once the run has ended; `view: "basic"` leaves contents out. */
  get(id: string, query: Query<"getProposal"> = {}, { signal }: Options = {}): Promise<Proposal> {
    return this.http.json("GET", `/api/proposals/${encodeURIComponent(id)}`, { query, signal });
  }

  /** The proposals that the caller may see, newest first, without files. */
  list(query: Query<"listProposals"> = {}, { signal }: Options = {}): AsyncGenerator<Proposal, void, undefined> {
    return this.http.items("/api/proposals", query, signal);
  }

  /** The content of one of its files. */
  content(id: string, sha256: string, { signal }: Options = {}): Promise<Uint8Array> {
    return this.http.bytes(`/api/proposals/${encodeURIComponent(id)}/files/${encodeURIComponent(sha256)}`, { signal });
  }

  /** The files that differ from the draft, with their hunks and the decisions about them, in path order. */
  diff(
    id: string,
    query: Query<"diffProposal"> = {},
    { signal }: Options = {},
  ): AsyncGenerator<FileDiff, void, undefined> {
    return this.http.items(`/api/proposals/${encodeURIComponent(id)}/diff`, query, signal);
  }

  /** One page of the same, with the proposal's etag; the first one also has the statistics of all pages. */
  diffPage(
    id: string,
    query: Query<"diffProposal"> & { cursor?: string | null } = {},
    { signal }: Options = {},
  ): Promise<DiffPage> {
    return this.http.json("GET", `/api/proposals/${encodeURIComponent(id)}/diff`, { query, signal });
  }

  /** The same as one patch in git's format. */
  patch(id: string, query: Query<"diffProposal"> = {}, { signal }: Options = {}): Promise<string> {
    const headers = { Accept: "text/x-patch" };
    return this.http.call(
      "GET",
      `/api/proposals/${encodeURIComponent(id)}/diff`,
      { query, headers, signal },
      (answer) => textOf(answer, this.http.maxBytes),
    );
  }

  /** Decide about files or hunks. Returns the proposal with its new etag, without files. */
  decide(proposal: Versioned, decisions: FileDecision[], { signal }: Options = {}): Promise<Proposal> {
    return this.http.json("PATCH", `/api/proposals/${encodeURIComponent(proposal.id)}/decisions`, {
      body: { decisions },
      etag: proposal.etag,
      signal,
    });
  }

  /** Accept everything that is not rejected, as a new version of the draft. */
  accept(
    proposal: Versioned,
    request: AcceptProposalRequest = {},
    options: OnceOptions = {},
  ): Promise<AcceptedProposal> {
    return this.#decideOnce(proposal, "accept", request, options);
  }

  /** What `accept` would do. Changes nothing. */
  preview(
    proposal: Versioned,
    request: AcceptProposalRequest = {},
    { signal }: Options = {},
  ): Promise<AcceptedProposal> {
    const path = `/api/proposals/${encodeURIComponent(proposal.id)}/accept`;
    return this.http.json("POST", path, { query: { validate_only: true }, body: request, etag: proposal.etag, signal });
  }

  reject(proposal: Versioned, request: RejectProposalRequest = {}, options: OnceOptions = {}): Promise<Proposal> {
    return this.#decideOnce(proposal, "reject", request, options);
  }

  /** Start the next round. The proposal itself stays open. */
  revise(proposal: Versioned, request: ReviseProposalRequest, options: OnceOptions = {}): Promise<StartedRefinement> {
    return this.#decideOnce(proposal, "revise", request, options);
  }

  #decideOnce<T>(
    proposal: Versioned,
    verb: string,
    body: object,
    { signal, requestId = newRequestId() }: OnceOptions,
  ): Promise<T> {
    return this.http.json("POST", `/api/proposals/${encodeURIComponent(proposal.id)}/${verb}`, {
      body,
      etag: proposal.etag,
      requestId,
      signal,
    });
  }
}
