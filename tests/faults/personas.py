"""Personas: the ways in which a runtime behaves, good and bad, chosen per job by its prompt.

What the published runtime was seen to do, each apart: its channel has no history, its socket polls and
lies, a run that fails tells nothing, an invoke that is repeated runs the agent again (ADR 0010).
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal

Profile = Literal["full", "ids", "none"]
Cut = Literal["close", "reset", "half", "1011"]

_MARK = re.compile(r"\[\[persona:(\{.*?\})\]\]")


@dataclass(frozen=True, slots=True)
class Persona:
    """One behaviour; the default is the honest runtime, which replays the whole run to everyone."""

    name: str = "honest"
    script: str = "short_run"
    #: `replay`: every connection gets every frame. `live`: frames from now on; late, a snapshot and
    #: `end`. `poll`: signs of progress, then a summary without files.
    kind: Literal["replay", "live", "poll"] = "replay"
    #: Frames a second; 0 as fast as it goes.
    rate: float = 0.0
    #: What the state says: the truth; `completed` without files from the start; always 404.
    state: Literal["honest", "lies", "unknown"] = "honest"
    #: Behind this frame the run dies: neither `error` nor `end`.
    dies: int = 0
    #: The first `cuts` connections break after their `cut`th frame.
    cut: int = 0
    how: Cut = "close"
    cuts: int = 1
    #: The first connection hangs: before the handshake's answer, after it, in the middle of the
    #: frame `hang_at`, or in place of the `end` frame (that one every time).
    hang: Literal["", "accept", "accepted", "mid", "last"] = ""
    hang_at: int = 1
    #: Frames behind which nothing comes before the rig releases the run; 0 for a run that is not held.
    holds: int = 0
    #: After its last frame the connection stays open and silent.
    stays: bool = False
    #: The thread's id: the job's, or one of the runtime's own for each invoke.
    ids: Literal["job", "chosen"] = "job"
    #: The endpoint gives up after so many seconds, while the run goes on.
    timeout_s: float = 0.0
    #: An invoke is answered late; is taken, and the connection is cut; is cut, and nothing is taken;
    #: is answered 500.
    invoke: Literal["", "slow", "taken", "lost", "error"] = ""

    @property
    def prompt(self) -> str:
        """The prompt that asks for it."""
        default = Persona()
        changed = {key: value for key, value in asdict(self).items() if value != getattr(default, key)}
        return f"refine [[persona:{json.dumps(changed)}]]"

    @classmethod
    def of_prompt(cls, prompt: str) -> Persona:
        """The persona that a prompt asks for; the honest one when it asks for none."""
        found = _MARK.search(prompt)
        given: dict[str, Any] = json.loads(found[1]) if found else {}
        known = {field.name for field in fields(cls)}
        return cls(**{key: value for key, value in given.items() if key in known})

    def with_(self, **changes: Any) -> Persona:
        """The same with changes."""
        return replace(self, **changes)

    def exact(self, profile: Profile) -> bool:
        """Whether the journal must be the run's frames, all and in order, without a discontinuity."""
        if profile == "ids":
            # Where nothing is journalled yet, there is nothing to join.
            return self.fits(profile) and self.invoke == "" and not self.hang.startswith("accept")
        return profile == "full" and self.kind == "replay"

    def fits(self, profile: Profile) -> bool:
        """Whether an operator may declare the profile for it."""
        if profile == "ids":
            # No two frames of a made run are equal, as if each carried an id.
            return self.kind == "replay" and self.script.startswith("made-")
        return profile == "none" or self.kind == "replay"

    @property
    def needs_bound(self) -> bool:
        """Whether only the bound of a run's time may end it."""
        return bool({"deadline_exceeded", "input_not_given"} & {reason for _, reason in self.verdicts})

    @property
    def asks(self) -> bool:
        """Whether the run asks a person, and stays open until somebody cancels it or its time is over."""
        return self.script.startswith(("asks-", "sibling-"))

    @property
    def verdicts(self) -> set[tuple[str, str]]:
        """The outcomes, each with its reason, that are right for it."""
        if self.invoke == "lost":
            return {("failed", "runtime_unavailable"), ("failed", "invoke_uncertain")}
        if self.invoke == "error":
            return {("failed", "runtime_refused")}
        if self.asks:
            return {("failed", "input_not_given"), ("cancelled", "cancelled")}
        if self.kind == "poll":
            # A poller says completed with nothing: only an honest state can make it a success.
            return {("completed", "")} if self.state == "honest" else {("failed", "empty_result")}
        if self.dies:
            lost = {"unknown": "upstream_lost", "lies": "empty_result"}
            return {("failed", lost.get(self.state, "deadline_exceeded"))}
        if self.script == "error_mid_stream" or self.script.startswith("fails-"):
            return {("failed", "upstream_error")}
        return {("completed", "")}


HONEST = Persona()
LIVE = Persona("live only", script="made-1-60", kind="live", rate=40)

#: Every persona of the full campaign.
PERSONAS = (
    HONEST.with_(rate=100),
    HONEST.with_(name="honest, made", script="made-2-80", rate=100),
    HONEST.with_(name="failing run", script="error_mid_stream", rate=100),
    LIVE,
    Persona("poller", script="made-3-30", kind="poll", rate=20),
    Persona("poller that lies", script="made-4-30", kind="poll", rate=20, state="lies"),
    Persona("silent death", script="made-5-60", rate=60, dies=30),
    Persona("death, forgotten", script="made-6-60", rate=60, dies=30, state="unknown"),
    Persona("lying state", script="made-7-60", rate=60, state="lies"),
    Persona("forgetful", script="made-8-60", rate=60, state="unknown"),
    Persona("forgetful, drops", script="made-19-60", rate=60, state="unknown", cut=20, how="reset"),
    Persona("lying state, drops", script="made-20-60", rate=60, state="lies", cut=20, how="1011"),
    Persona("cut short", script="made-9-80", rate=40, timeout_s=0.5),
    Persona("cut short, live", script="made-10-80", kind="live", rate=40, timeout_s=0.5),
    Persona("drops", script="made-11-60", rate=60, cut=20, cuts=2, how="reset"),
    Persona("hangs before accept", script="made-12-60", rate=60, hang="accept"),
    Persona("hangs after accept", script="made-13-60", rate=60, hang="accepted"),
    Persona("hangs in a frame", script="made-14-60", rate=60, hang="mid", hang_at=30),
    Persona("hangs at the end", script="made-15-60", rate=60, hang="last"),
    Persona("invoke cut", script="made-16-60", rate=60, invoke="taken"),
    Persona("invoke slow", script="made-17-60", rate=60, invoke="slow"),
    Persona("asks", script="asks-18-40", rate=60),
    Persona("asks, a sibling goes on", script="sibling-22-40", rate=60),
    Persona("asks, lying state", script="asks-23-40", rate=60, state="lies", cut=40, how="1011"),
    Persona("asks, cut short", script="asks-24-80", rate=60, timeout_s=1.5, stays=True),
    Persona("asks, drops before", script="asks-38-40", cut=38, how="reset"),
    Persona("asks, live", script="asks-25-40", kind="live", rate=40, state="lies"),
    Persona("fails without an end", script="fails-26-40", rate=60),
    Persona("fails, lying state", script="fails-27-40", rate=60, state="lies"),
    Persona("fails, forgotten", script="fails-28-40", rate=60, state="unknown"),
    Persona("fails and stays open", script="fails-29-40", rate=60, state="lies", stays=True),
    Persona("fails, then drops", script="fails-30-40", rate=60, state="lies", cut=41, cuts=9, how="reset"),
    Persona("fails, live", script="fails-31-60", kind="live", rate=40, state="lies"),
    Persona("chosen id", script="made-32-60", rate=60, ids="chosen"),
    Persona("chosen id, drops", script="made-33-60", rate=60, ids="chosen", cut=20, cuts=2, how="reset"),
    Persona("chosen id, live", script="made-34-60", kind="live", rate=40, ids="chosen"),
    Persona("chosen id, poller", script="made-35-30", kind="poll", rate=20, ids="chosen"),
    Persona("chosen id, asks", script="asks-36-40", rate=60, ids="chosen"),
    Persona("chosen id, invoke slow", script="made-37-60", rate=60, ids="chosen", invoke="slow"),
)
