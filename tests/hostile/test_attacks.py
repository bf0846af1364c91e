"""A sample of the attacks (docs/reference/hostile.md), on every change.

They are short here, and other tests run beside them: how much longer another user waits is measured by `make
hostile`. What is looked at is what does not depend on the machine: no call of the other user's fails, no run
changes its owner, the memory is bounded, and the hub refuses what it must.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.hostile.attacks.catalogue import ATTACKS, FAMILIES
from tests.hostile.attacks.rig import Rig
from tests.support.postgres import Postgres
from tests.support.processes import ROOT

SAMPLE = (
    "ws-continuations",
    "grpc-calls-without-a-request",
    "stopped-lists",
    "frames-interpolated-text",
    "rights-streams-by-links",
)
#: The one that is also aimed at another hub.
CONTROLLED = "rights-streams-by-links"
#: Seconds that a probe may take on a busy machine. What the attacks did to a hub without limits took 20.
MAX_PROBE_S = 10.0
#: Seconds of a lease, the default: on a busy machine a shorter one may end without an attack.
LEASE_S = 15


@pytest.mark.timeout(180)
@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.parametrize("name", SAMPLE)
async def test_an_attack_harms_no_other_user(name: str, postgres: Postgres, tmp_path: Path) -> None:
    # Beside other tests, an attacker of low priority would do little.
    rig = Rig(postgres, 0.5, 2.0, tmp_path, another_hub=name == CONTROLLED, lease_s=LEASE_S, nice=False)
    measured = await rig.run(ATTACKS[name])
    assert not measured.harm, measured
    assert measured.probe_s < MAX_PROBE_S, measured
    if name == CONTROLLED:
        # Both hubs opened as many streams as an account may have: they share no quota.
        assert " x 101" in measured.said, measured
        assert measured.control_said == measured.said


def test_the_page_says_what_each_attack_does() -> None:
    page = (ROOT / "docs/reference/hostile.md").read_text()
    for family in FAMILIES:
        assert f"**{family.title[0].upper()}{family.title[1:]}**" in page
        for attack in family.attacks:
            assert f"| `{attack.name}` | {attack.what} |" in page
