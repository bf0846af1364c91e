// The types of the HTTP interface that this package takes and gives. They are generated from its description.

import type { operations } from "./gen/openapi.js";

export type {
  AcceptedProposal,
  AcceptProposalRequest,
  BlameRange,
  ConflictPlace,
  CreateWorkflowRequest,
  DiffPage,
  DiffStatistics,
  Draft,
  DraftChange,
  DraftDiffPage,
  DraftFile,
  Failure,
  File as ProposalFile,
  FileAt,
  FileBlame,
  FileDecision,
  FileDiff,
  Hunk,
  MergeConflict,
  MergeSide,
  MovedProblem,
  Problem,
  ProblemCode,
  Proposal,
  ProposalStatus,
  Refinement,
  RejectedFile,
  RejectProposalRequest,
  ReplyToInputRequest,
  ResolvedFile,
  ReviseProposalRequest,
  ServerInfo,
  StartedRefinement,
  StartRefinementRequest,
  Ticket,
  UpdateDraftRequest,
  UpdateWorkflowRequest,
  User,
  Workflow,
} from "./gen/openapi.js";

/** The query of an operation, without the cursor of its pages. */
export type Query<Name extends keyof operations> = Omit<NonNullable<operations[Name]["parameters"]["query"]>, "cursor">;

/** Beside the members of a call. */
export interface Options {
  signal?: AbortSignal;
}

/** Of a call that takes effect once, however often it is sent. */
export interface OnceOptions extends Options {
  /** Idempotency key, to repeat the call in another process; by default the client makes one. */
  requestId?: string;
}

/** What was read, with its etag: a write changes nothing if there is a newer one. */
export interface Versioned {
  id: string;
  etag: string;
}
