"""The attacker, as a process: `python -m tests.hostile.attacks.attacker NAME [idle]`, with its aim as JSON on
standard input. Prints the result as JSON (`Outcome`).

With `idle` it runs only when nothing else needs the processor: where latencies are measured, the attacker
must not take the time of the hub and of the other user. Elsewhere, beside other work, it would hardly run.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time

from tests.hostile.attacks.attack import Aim, NotHeld, Outcome
from tests.hostile.attacks.catalogue import ATTACKS


def main() -> None:
    """Attack."""
    if "idle" in sys.argv[2:] and hasattr(os, "SCHED_IDLE"):
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    attack, aim = ATTACKS[sys.argv[1]], Aim.from_json(sys.stdin.read())
    try:
        held, said = True, asyncio.run(attack.run(aim))
    except NotHeld as broken:
        held, said = False, str(broken)
    print(json.dumps(Outcome(held, said, time.process_time())))


if __name__ == "__main__":
    main()
