"""The attacker, as a process: `python -m tests.hostile.attacks.attacker NAME`, with its aim as JSON on
standard input. Prints what became of it: `held TEXT`, or `not held TEXT`.
"""

from __future__ import annotations

import asyncio
import os
import sys

from tests.hostile.attacks.attack import Aim, NotHeld
from tests.hostile.attacks.catalogue import ATTACKS


def main() -> None:
    """Attack."""
    # An attacker has a machine of their own. Here it gets the time that the hub and the other user leave.
    if hasattr(os, "SCHED_IDLE"):
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    attack, aim = ATTACKS[sys.argv[1]], Aim.from_json(sys.stdin.read())
    try:
        print("held", asyncio.run(attack.run(aim)))
    except NotHeld as broken:
        print("not held", broken)


if __name__ == "__main__":
    main()
