"""The attacker, as a process: `python -m tests.hostile.attacks.attacker NAME [nice]`, with its aim as JSON on
standard input. Prints the result as JSON (`Outcome`).

With `nice` it has the lowest priority: where latencies are measured, the attacker, which elsewhere has a
machine of its own, must not take the time of the hub and of the other user.
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
    if "nice" in sys.argv[2:]:
        os.nice(19)
    attack, aim = ATTACKS[sys.argv[1]], Aim.from_json(sys.stdin.read())
    try:
        held, said = True, asyncio.run(attack.run(aim))
    except NotHeld as broken:
        held, said = False, str(broken)
    print(json.dumps(Outcome(held, said, time.process_time())))


if __name__ == "__main__":
    main()
