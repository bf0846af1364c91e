"""A replica dies while it accepts a proposal; the same request goes to another."""

from __future__ import annotations

import contextlib

import httpx

from server.domain.crash_points import EXIT_CODE
from tests.faults.crashes import AT_ACCEPT
from tests.faults.personas import HONEST
from tests.faults.rig.environment import Environment, open_rig
from tests.faults.rig.report import Result
from tests.faults.rig.run import Run

#: What there is of an acceptance: the resolution, its version, and the versions that came of proposals.
_STATE = """
SELECT p.resolution, p.result_version, d.version,
  (SELECT count(*) FROM draft_versions v WHERE v.proposal_id = p.id) AS made
FROM proposals p JOIN drafts d ON d.id = p.draft_id
"""


async def acceptance_case(environment: Environment, point: str) -> Result:
    """Die at a point of an acceptance, check that it is done or not, repeat the request, check again."""
    result = Result("crash while a proposal is accepted")
    async with open_rig(environment, "full") as rig:
        await rig.start("A", IDEO_CRASH_POINT=point)
        await rig.start("B")
        run = await rig.run(HONEST, via="B", ways=["ws-json"])
        result.add(await rig.settle(result.fault, within_s=40))
        with contextlib.suppress(httpx.HTTPError):
            answer = await _accept(rig.http, rig.replicas["A"].address.http, run)
            result.fail("refused", f"{point}: the replica answered {answer.status_code}")
        if await rig.replicas["A"].gone(60) != EXIT_CODE:
            result.fail("refused", f"{point}: the replica did not die there")
        done = (1, 2, "accepted", 2) if point == "accepted" else (0, 1, None, None)
        for expected in (done, (1, 2, "accepted", 2)):
            (row,) = await rig.rows(_STATE)
            found = (row["made"], row["version"], row["resolution"], row["result_version"])
            if found != expected:
                result.fail("duplicated" if found[0] > 1 else "lost", f"{point}: {found}, not {expected}")
            answer = await _accept(rig.http, rig.replicas["B"].address.http, run)
            if answer.status_code != 200:
                result.fail("refused", f"{point}: {answer.text[:200]}")
    return result


async def _accept(http: httpx.AsyncClient, address: str, run: Run) -> httpx.Response:
    headers = {"If-Match": "*", "Idempotency-Key": run.proposal_id}
    url = f"{address}/api/proposals/{run.proposal_id}/accept"
    return await http.post(url, headers=headers, timeout=60)


async def every_acceptance(environment: Environment, *, times: int = 1) -> Result:
    """Each point of an acceptance, so many times."""
    total = Result("crash while a proposal is accepted")
    for point in AT_ACCEPT * times:
        total.add(await acceptance_case(environment, point))
    return total
