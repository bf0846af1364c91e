export { ProblemError, StreamClosedError, UnreachableError, type Problem } from "./errors.js";
export { FaultError } from "./fault.js";
export type { FollowOptions } from "./connection.js";
export * from "./gen/ide_orchestrator/v1/event_pb.js";
export type { CallOptions, HubOptions, TokenSource } from "./http.js";
export { Hub } from "./hub.js";
export { wrongFields } from "./limits.js";
export type * from "./resources.js";
