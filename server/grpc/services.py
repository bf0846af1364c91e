"""The services of the contract, for every transport that serves them: gRPC, Connect and gRPC-Web."""

from __future__ import annotations

import grpc.aio

from ide_orchestrator.v1 import (
    access_pb2,
    draft_pb2,
    info_pb2,
    proposal_pb2,
    quarantine_pb2,
    refinement_pb2,
    review_pb2,
    user_pb2,
    webhook_pb2,
    workflow_pb2,
)
from ide_orchestrator.v1.access_pb2_grpc import add_AccessServiceServicer_to_server
from ide_orchestrator.v1.draft_pb2_grpc import add_DraftServiceServicer_to_server
from ide_orchestrator.v1.info_pb2_grpc import add_InfoServiceServicer_to_server
from ide_orchestrator.v1.proposal_pb2_grpc import add_ProposalServiceServicer_to_server
from ide_orchestrator.v1.quarantine_pb2_grpc import add_QuarantineServiceServicer_to_server
from ide_orchestrator.v1.refinement_pb2_grpc import add_RefinementServiceServicer_to_server
from ide_orchestrator.v1.review_pb2_grpc import add_ReviewServiceServicer_to_server
from ide_orchestrator.v1.user_pb2_grpc import add_UserServiceServicer_to_server
from ide_orchestrator.v1.webhook_pb2_grpc import add_WebhookServiceServicer_to_server
from ide_orchestrator.v1.workflow_pb2_grpc import add_WorkflowServiceServicer_to_server
from server.grpc.draft_servicer import DraftServicer
from server.grpc.event_reads import EventReads
from server.grpc.info_servicer import InfoServicer
from server.grpc.proposal_servicer import ProposalServicer
from server.grpc.quarantine_servicer import QuarantineServicer
from server.grpc.refinement_servicer import RefinementServicer
from server.grpc.review_servicer import ReviewServicer
from server.grpc.servicers import AccessServicer, WorkflowServicer
from server.grpc.user_servicer import UserServicer
from server.grpc.watch import WatchStreams
from server.grpc.webhook_servicer import WebhookServicer
from server.grpc.writing import MessageWriter
from server.use_cases import UseCases

_FILES = (
    refinement_pb2,
    proposal_pb2,
    review_pb2,
    access_pb2,
    workflow_pb2,
    draft_pb2,
    user_pb2,
    info_pb2,
    webhook_pb2,
    quarantine_pb2,
)
#: The contract's services, by their full names.
DESCRIPTORS = {
    str(service.full_name): service
    for file in _FILES
    for service in file.DESCRIPTOR.services_by_name.values()
}
SERVICES = tuple(DESCRIPTORS)


def add_services(use_cases: UseCases, writer: MessageWriter, server: grpc.aio.Server) -> WatchStreams:
    """Add the services to a server, or to what collects their handlers as one does. writer: writes the
    messages of their streams. Returns the open watches."""
    watches = WatchStreams(use_cases.refinements, writer)
    refinements = RefinementServicer(
        use_cases.refinements,
        use_cases.input_replies,
        use_cases.file_history,
        watches,
        EventReads(use_cases.refinements, writer),
        writer,
    )
    add_RefinementServiceServicer_to_server(refinements, server)
    add_ProposalServiceServicer_to_server(
        ProposalServicer(use_cases.proposals, use_cases.contents, writer), server
    )
    add_AccessServiceServicer_to_server(AccessServicer(use_cases.access, use_cases.sharing), server)
    workflows = WorkflowServicer(use_cases.workflows, use_cases.refused_bytes)
    add_WorkflowServiceServicer_to_server(workflows, server)
    drafts = DraftServicer(use_cases.drafts, use_cases.draft_store, writer)
    add_DraftServiceServicer_to_server(drafts, server)
    reviews = ReviewServicer(use_cases.comparisons, use_cases.reviews, use_cases.revisions, writer)
    add_ReviewServiceServicer_to_server(reviews, server)
    add_UserServiceServicer_to_server(UserServicer(use_cases.directory), server)
    add_InfoServiceServicer_to_server(InfoServicer(use_cases.server_info), server)
    webhooks = WebhookServicer(use_cases.webhooks, use_cases.webhook_store)
    add_WebhookServiceServicer_to_server(webhooks, server)
    quarantine = QuarantineServicer(use_cases.quarantine, writer)
    add_QuarantineServiceServicer_to_server(quarantine, server)
    return watches
