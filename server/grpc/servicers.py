"""The methods: check the fields, call the use case, make the answer."""

from __future__ import annotations

from ide_orchestrator.v1.access_pb2_grpc import AccessServiceServicer
from ide_orchestrator.v1.workflow_pb2_grpc import WorkflowServiceServicer
from server.domain import model
from server.domain.access.refused_bytes import RefusedBytes
from server.domain.access.sharing import AccessStore, Sharing
from server.domain.drafts.draft import sizes_of
from server.domain.errors import HubError, LimitReached
from server.domain.off_loop import REQUESTS, SMALL_BYTES
from server.domain.workflows import WorkflowService
from server.grpc.answers import reserved
from server.grpc.authentication import Context, caller
from server.wire import messages as m
from server.wire.access import (
    create_share_link,
    grant_access,
    grant_message,
    grants_message,
    share_link_message,
    share_links_message,
)
from server.wire.pages import PAGE_NAMES, PageQuery, page_values
from server.wire.validation import renamed_fields, uuid_or_not_found
from server.wire.workflows import (
    create_workflow,
    fit_workflow,
    update_workflow,
    workflow_message,
    workflows_message,
)

#: Large requests of all callers that are read at a time or wait for it: parsed, they take many times their
#: size.
MAX_LARGE_REQUESTS = 2


class WorkflowServicer(WorkflowServiceServicer):
    """Create and read workflows (contract: WorkflowService)."""

    def __init__(self, workflows: WorkflowService, refused_bytes: RefusedBytes) -> None:
        self._workflows, self._refused_bytes = workflows, refused_bytes
        #: Large requests that are being read, or wait for that.
        self._large = 0

    async def CreateWorkflow(
        self, request: m.CreateWorkflowRequest, context: Context
    ) -> m.CreateWorkflowResponse:
        """Contract: CreateWorkflow."""
        workflow = await self._workflows.create(caller(), await self._command(request))
        return m.CreateWorkflowResponse(workflow=await REQUESTS.run(workflow_message, workflow))

    async def _command(self, request: m.CreateWorkflowRequest) -> model.CreateWorkflow:
        """The command of a request, made off the event loop. A large one that is refused is counted."""
        size_bytes, user_id = request.ByteSize(), caller().user_id
        if size_bytes <= SMALL_BYTES:
            return await REQUESTS.run(create_workflow, request)
        self._refused_bytes.check(user_id)
        if self._large >= MAX_LARGE_REQUESTS:
            raise LimitReached("other large requests are being read", retry_after_s=1)
        self._large += 1
        try:
            return await REQUESTS.run(create_workflow, request)
        except HubError:
            self._refused_bytes.count(user_id, size_bytes)
            raise
        finally:
            self._large -= 1

    async def GetWorkflow(self, request: m.GetWorkflowRequest, context: Context) -> m.GetWorkflowResponse:
        """Contract: GetWorkflow."""
        workflow_id = uuid_or_not_found(request.workflow_id, "workflow")
        workflow, files = await self._workflows.get(caller(), workflow_id, reserved())
        return await REQUESTS.run_unless_small(sizes_of(files), fit_workflow, workflow, files)

    async def UpdateWorkflow(
        self, request: m.UpdateWorkflowRequest, context: Context
    ) -> m.UpdateWorkflowResponse:
        """Contract: UpdateWorkflow."""
        workflow_id = uuid_or_not_found(request.workflow_id, "workflow")
        workflow = await self._workflows.update(caller(), workflow_id, update_workflow(request))
        return m.UpdateWorkflowResponse(workflow=workflow_message(workflow))

    async def ListWorkflows(
        self, request: m.ListWorkflowsRequest, context: Context
    ) -> m.ListWorkflowsResponse:
        """Contract: ListWorkflows."""
        with renamed_fields(PAGE_NAMES):
            query = PageQuery.model_validate(page_values(request))
            page = await self._workflows.list(
                caller(), limit=query.size, token=query.cursor, reservation=reserved()
            )
        return workflows_message(page)


class AccessServicer(AccessServiceServicer):
    """Who may see a proposal (contract: AccessService)."""

    def __init__(self, access: AccessStore, sharing: Sharing) -> None:
        self._access, self._sharing = access, sharing

    async def ListGrants(self, request: m.ListGrantsRequest, context: Context) -> m.ListGrantsResponse:
        """Contract: ListGrants."""
        proposal_id = uuid_or_not_found(request.proposal_id, "proposal")
        return grants_message(await self._access.grants(caller(), proposal_id))

    async def GrantAccess(self, request: m.GrantAccessRequest, context: Context) -> m.GrantAccessResponse:
        """Contract: GrantAccess."""
        proposal_id = uuid_or_not_found(request.proposal_id, "proposal")
        user_id = uuid_or_not_found(request.user_id, "user")
        access_type = grant_access(request)
        grant = await self._sharing.grant(caller(), proposal_id, user_id, access_type)
        return m.GrantAccessResponse(grant=grant_message(grant))

    async def AcceptGrant(self, request: m.AcceptGrantRequest, context: Context) -> m.AcceptGrantResponse:
        """Contract: AcceptGrant."""
        proposal_id = uuid_or_not_found(request.proposal_id, "proposal")
        return m.AcceptGrantResponse(grant=grant_message(await self._access.accept(caller(), proposal_id)))

    async def RevokeAccess(self, request: m.RevokeAccessRequest, context: Context) -> m.RevokeAccessResponse:
        """Contract: RevokeAccess."""
        proposal_id = uuid_or_not_found(request.proposal_id, "proposal")
        await self._access.revoke(caller(), proposal_id, uuid_or_not_found(request.user_id, "user"))
        return m.RevokeAccessResponse()

    async def ListShareLinks(
        self, request: m.ListShareLinksRequest, context: Context
    ) -> m.ListShareLinksResponse:
        """Contract: ListShareLinks."""
        proposal_id = uuid_or_not_found(request.proposal_id, "proposal")
        return share_links_message(await self._access.links(caller(), proposal_id))

    async def CreateShareLink(
        self, request: m.CreateShareLinkRequest, context: Context
    ) -> m.CreateShareLinkResponse:
        """Contract: CreateShareLink."""
        proposal_id = uuid_or_not_found(request.proposal_id, "proposal")
        query = create_share_link(request)
        link = await self._sharing.share(
            caller(), proposal_id, after_seq=query.after, lifetime=query.lifetime
        )
        return m.CreateShareLinkResponse(share_link=share_link_message(link))

    async def RevokeShareLink(
        self, request: m.RevokeShareLinkRequest, context: Context
    ) -> m.RevokeShareLinkResponse:
        """Contract: RevokeShareLink."""
        proposal_id = uuid_or_not_found(request.proposal_id, "proposal")
        await self._access.revoke_link(caller(), proposal_id, uuid_or_not_found(request.link_id, "link"))
        return m.RevokeShareLinkResponse()
