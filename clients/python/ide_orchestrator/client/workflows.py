"""Calls about workflows and the versions of their drafts."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any

from ide_orchestrator.client.http_calls import PAGE, HttpCalls, address, if_match, present, view, with_query
from ide_orchestrator.client.resources import Draft, Workflow


class WorkflowCalls(HttpCalls):
    """Creates and reads workflows, reads and writes drafts."""

    async def create_workflow(
        self,
        name: str,
        files: Mapping[str, str] | None = None,
        agent_definition: Mapping[str, Any] | None = None,
    ) -> Workflow:
        """Create a workflow with a first draft. files: path to text."""
        body = {"name": name, "files": files or {}, "agent_definition": agent_definition}
        made: Workflow = await self.call("POST", "/api/workflows", present(body))
        return made

    async def workflow(self, workflow_id: str) -> Workflow:
        """A workflow with the text files of its draft."""
        found: Workflow = await self.call("GET", address("workflows", workflow_id))
        return found

    def workflows(self) -> AsyncGenerator[Workflow, None]:
        """The caller's workflows, newest first, without definitions and files."""
        return self.items("/api/workflows", limit=PAGE)

    async def draft(self, draft_id: str, version: int = 0, *, contents: bool = True) -> Draft:
        """A draft at a version; 0 for the newest."""
        query = {"version": version, "view": view(contents)}
        found: Draft = await self.call("GET", with_query(address("drafts", draft_id), query))
        return found

    def draft_versions(self, draft_id: str) -> AsyncGenerator[Draft, None]:
        """A draft's versions, newest first, without files."""
        return self.items(f"{address('drafts', draft_id)}/versions", limit=PAGE)

    async def write_draft(
        self,
        draft: Draft,
        files: Mapping[str, str],
        deleted_paths: Sequence[str] = (),
        *,
        request_id: str | None = None,
    ) -> Draft:
        """Write and delete files as one new version, if the draft is still the one that was read."""
        body = {"files": files, "deleted_paths": deleted_paths}
        path = address("drafts", draft["id"])
        written: Draft = await self.call_once("PUT", path, body, if_match(draft), key=request_id)
        return written

    async def restore_draft(self, draft: Draft, version: int, *, request_id: str | None = None) -> Draft:
        """Make a new version with the files of an earlier one, if the draft is still the one that was
        read."""
        path, body = f"{address('drafts', draft['id'])}/restore", {"version": version}
        restored: Draft = await self.call_once("POST", path, body, if_match(draft), key=request_id)
        return restored
