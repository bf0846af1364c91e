"""Records what `langgraph dev` sends, for the fast tests of the adapter: `python -m
tests.examples.record_agent_server ADDRESS`, with examples/langgraph_server at that address.

Each scenario becomes a folder of tests/data/agent_server: bodies as they came, one file each.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx

from server.agent_server.forms import reply_form, run_form
from server.domain.runs.replies import Reply
from server.domain.runs.runtime import Invocation
from tests.examples.scripted import ASKS, script, turn, write

FOLDER = Path(__file__).parents[1] / "data/agent_server"


class Scenario:
    """A thread at the server, and the folder that its answers go to."""

    def __init__(self, server: httpx.Client, name: str, prompt: str, definition: dict[str, Any]) -> None:
        self._server, self._folder = server, FOLDER / name
        self._folder.mkdir(parents=True, exist_ok=True)
        self._job = Invocation(
            UUID(int=2), uuid4(), definition, {"messages": [{"role": "user", "content": prompt}]}
        )
        self.path = f"/threads/{self._job.job_id}"
        self.post("started.json", run_form(self._job, "agent"))

    def post(self, file: str, form: bytes) -> None:
        """Start a run."""
        answer = self._server.post(
            f"{self.path}/runs", content=form, headers={"Content-Type": "application/json"}
        )
        self.run_id = answer.json()["run_id"]
        self._keep(file, answer.content)

    def reply(self, input_id: str, value: dict[str, Any]) -> None:
        """Continue the run with a reply."""
        reply = Reply(UUID(int=3), 1, input_id, UUID(int=4), ("approve",), value)
        self.post("resumed.json", reply_form(self._job, "agent", reply))

    def stream(self, file: str) -> bytes:
        """The run's stream from its first event to its end."""
        answer = self._server.get(
            f"{self.path}/runs/{self.run_id}/stream", headers={"last-event-id": "-1"}, timeout=60
        )
        self._keep(file, answer.content)
        return answer.content

    def ended(self, suffix: str = "") -> None:
        """What the server says about the thread once its run is over."""
        listed = f"{self.path}/runs?limit=1&select=run_id&select=status&select=metadata"
        form = {
            "metadata": {"job_id": str(self._job.job_id)},
            "limit": 1,
            "select": ["thread_id", "status"],
        }
        self._keep(f"runs{suffix}.json", self._server.get(listed).content)
        self._keep(f"state{suffix}.json", self._server.get(f"{self.path}/state").content)
        self._keep(f"thread{suffix}.json", self._server.post("/threads/search", json=form).content)

    def _keep(self, file: str, body: bytes) -> None:
        (self._folder / file).write_bytes(body)


def main(address: str) -> None:
    """Record all scenarios."""
    with httpx.Client(base_url=address) as server:
        one = script(turn("I write it.", write("/plan.md", "Plan\n")), turn("Done."))
        run = Scenario(server, "completed", one, {})
        run.stream("stream.sse")
        run.ended()

        fails = script(turn("I begin.", write("/half.md", "half\n")), {"error": "the provider is away"})
        run = Scenario(server, "failed", fails, {})
        run.stream("stream.sse")
        run.stream("again.sse")
        run.ended()

        run = Scenario(server, "asks", one, ASKS)
        question = run.stream("stream.sse")
        run.ended()
        data = question.split(b"data: ")[-1].partition(b"\r\n")[0]
        run.reply(json.loads(data)["__interrupt__"][0]["id"], {"decisions": [{"type": "approve"}]})
        run.stream("resumed.sse")
        run.ended("-resumed")

        words = script(turn(" ".join(["word"] * 12)))
        while True:
            run = Scenario(server, "joined", words, {})
            wait_for_a_token(server, run)
            joined = run.stream("stream.sse")
            whole = run.stream("again.sse")
            if joined.count(b"\nid: ") > whole.count(b"\nid: "):
                break
        run.ended()


def wait_for_a_token(server: httpx.Client, run: Scenario) -> None:
    """Wait until the run has sent a token."""
    path = f"{run.path}/runs/{run.run_id}/stream"
    with server.stream("GET", path, headers={"last-event-id": "-1"}, timeout=60) as answer:
        for line in answer.iter_lines():
            if line == "event: messages":
                return


if __name__ == "__main__":
    main(sys.argv[1])
