// The messages and services of the contract, for gRPC and Connect.

export * from "./gen/ide_orchestrator/v1/access_pb.js";
export * from "./gen/ide_orchestrator/v1/draft_pb.js";
export * from "./gen/ide_orchestrator/v1/event_pb.js";
export * from "./gen/ide_orchestrator/v1/info_pb.js";
export * from "./gen/ide_orchestrator/v1/limits_pb.js";
export * from "./gen/ide_orchestrator/v1/problem_pb.js";
export * from "./gen/ide_orchestrator/v1/proposal_pb.js";
export * from "./gen/ide_orchestrator/v1/quarantine_pb.js";
export * from "./gen/ide_orchestrator/v1/refinement_pb.js";
export * from "./gen/ide_orchestrator/v1/review_pb.js";
export * from "./gen/ide_orchestrator/v1/user_pb.js";
export * from "./gen/ide_orchestrator/v1/webhook_pb.js";
export * from "./gen/ide_orchestrator/v1/workflow_pb.js";
