"""A runtime for the IDE Orchestrator: its four endpoints in front of a deepagents graph.

Start it with `uvicorn app:app`; README.md says how. Runs are in memory: a restart forgets them.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from fastapi import APIRouter, FastAPI, HTTPException, Response, WebSocket, WebSocketDisconnect
from langgraph.checkpoint.memory import InMemorySaver
from pydantic import BaseModel, Field

from agent import AgentDefinition, build_agent
from runs import NotWaiting, Run

#: The oldest ended runs beyond this number are forgotten. Each state frame repeats all messages and files, so
#: a run may take many megabytes.
MAX_RUNS = 100

app = FastAPI(title="deepagents runtime")
router = APIRouter(prefix="/deepagents-runtime")
checkpointer = InMemorySaver()
runs: dict[str, Run] = {}


class InputPayload(BaseModel):
    """What the agent gets: the prompt, and the files of the draft in deepagents' own form."""

    messages: list[dict[str, Any]] = Field(min_length=1)
    files: dict[str, Any] = {}


class Job(BaseModel):
    """A run to start. `job_id` becomes the id of its thread."""

    trace_id: str
    job_id: str = Field(min_length=1)
    agent_definition: AgentDefinition
    input_payload: InputPayload


class Reply(BaseModel):
    """A person's reply to the question of a thread."""

    thread_id: str
    resume_id: str
    interrupt_id: str | None = None
    resume: Any


@router.post("/invoke")
async def invoke(job: Job) -> dict[str, str]:
    """Start a run, once for each job."""
    if job.job_id not in runs:
        agent = build_agent(job.agent_definition, checkpointer)
        runs[job.job_id] = Run(agent, job.job_id, job.input_payload.model_dump())
        await forget_old_runs()
    return {"thread_id": job.job_id, "status": "started"}


@router.post("/resume")
async def resume(reply: Reply) -> dict[str, str]:
    """Continue a run with a reply."""
    try:
        known(reply.thread_id).resume(reply.resume_id, reply.interrupt_id, reply.resume)
    except NotWaiting as error:
        raise HTTPException(409, str(error)) from None
    return {"thread_id": reply.thread_id, "status": "started"}


@router.get("/state/{thread_id}")
async def state(thread_id: str) -> dict[str, Any]:
    """The status of a run, its files and its error."""
    return {"thread_id": thread_id, **known(thread_id).state()}


@router.websocket("/stream/{thread_id}")
async def stream(socket: WebSocket, thread_id: str) -> None:
    """Every frame of a run from the first one on, then a close."""
    run = runs.get(thread_id)
    if run is None:
        await socket.send_denial_response(Response(status_code=404))
        return
    # A reader that is gone connects again, or not: the run goes on.
    with suppress(WebSocketDisconnect):
        await socket.accept()
        async for frame in run.frames():
            await socket.send_text(frame)
        await socket.close()


@app.get("/health")
async def health() -> dict[str, str]:
    """Whether the process serves."""
    return {"status": "healthy"}


def known(thread_id: str) -> Run:
    """The run of a thread. Raises HTTPException for an unknown one."""
    if thread_id not in runs:
        raise HTTPException(404, f"Thread {thread_id} not found")
    return runs[thread_id]


async def forget_old_runs() -> None:
    """Forget the oldest runs that have ended, when there are too many."""
    ended = [thread_id for thread_id, run in runs.items() if run.status != "running"]
    for thread_id in ended[: max(len(runs) - MAX_RUNS, 0)]:
        del runs[thread_id]
        await checkpointer.adelete_thread(thread_id)


app.include_router(router)
