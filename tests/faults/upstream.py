"""The way to the runtime breaks after the kth frame."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

from tests.faults.personas import Cut, Persona, Profile
from tests.faults.rig.environment import Environment, open_rig
from tests.faults.rig.report import Result
from tests.faults.scripts import script

#: Runs under way at a time.
AT_ONCE = 25


async def cut_at_frames(
    environment: Environment,
    persona: Persona,
    profile: Profile,
    how: Cut,
    places: Iterable[int],
    ways: Sequence[str],
) -> Result:
    """A run for each place at which its first connection breaks."""
    async with open_rig(environment, profile, IDEO_RUN_MAX_DURATION_S="30") as rig:
        await rig.start("A", "B")
        room = asyncio.Semaphore(AT_ONCE)

        async def one(place: int) -> None:
            async with room:
                cut = persona.with_(name=f"{persona.name} cut at {place}", cut=place, how=how)
                run = await rig.run(cut, via="AB"[place % 2], ways=ways)
                await asyncio.wait(run.tasks, timeout=40)

        await asyncio.gather(*(one(place) for place in places))
        return await rig.settle(f"upstream {how} at a frame", within_s=5)


def every_frame(name: str) -> range:
    """Every place in a script, the last frame included."""
    return range(1, len(script(name).frames) + 1)
