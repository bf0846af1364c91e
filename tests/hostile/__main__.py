"""The campaign of hostile input: `make hostile`, or `python -m tests.hostile PART …`. See
docs/reference/hostile.md."""

from __future__ import annotations

import argparse
import asyncio
import re
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx

from ide_orchestrator.client import HubError
from tests.hostile.attacks.catalogue import ATTACKS, FAMILIES
from tests.hostile.attacks.measured import table
from tests.hostile.attacks.rig import open_rig
from tests.hostile.autobahn import EXCEPTIONS, run_autobahn
from tests.hostile.browser import run_payloads
from tests.hostile.fuzz_targets import TARGETS
from tests.hostile.target import open_target
from tests.support.processes import StartFailed

#: Measurements of an attack that misses a bar of time, until it meets it.
TRIES = 2
#: The control of `--control`.
ANOTHER_HUB = "another-hub"
_HERE = Path(__file__).parent


@dataclass(frozen=True)
class Options:
    """What the command line says. `control`: whether each attack is also aimed at another hub."""

    seconds: int
    examples: int
    seed: int
    attacks: tuple[str, ...] = tuple(ATTACKS)
    attack_s: float = 8.0
    control: bool = False


@dataclass
class Outcome:
    """One line of the table. `skipped`: why, if it was."""

    name: str
    tried: int = 0
    failures: list[str] = field(default_factory=list)
    note: str = ""
    skipped: bool = False


async def _output(*command: str, errors_too: bool = True) -> tuple[int, str]:
    """A command's exit code and its output."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT if errors_too else asyncio.subprocess.DEVNULL,
    )
    output, _ = await process.communicate()
    return process.returncode or 0, output.decode(errors="replace")


async def fuzz(options: Options) -> list[Outcome]:
    """Every reader of hostile bytes, guided by coverage."""
    outcomes = []
    with TemporaryDirectory(prefix="fuzz-") as made:
        for target in TARGETS:
            outcome = Outcome(f"fuzzed: {target}")
            code, output = await _output(
                *(sys.executable, "-m", "tests.hostile.fuzzing", target, str(options.seconds)),
                *(f"{made}/{target}", f"-seed={options.seed}"),
            )
            executed = re.search(r"number_of_executed_units: (\d+)", output)
            covered = re.findall(r"cov: (\d+) ft: (\d+) corp: (\d+)", output)
            outcome.tried = int(executed[1]) if executed else 0
            if "No module named 'atheris'" in output:
                outcome.skipped, outcome.note = True, "there is no atheris: make hostile installs it"
            elif code or not covered:
                outcome.failures.append(output[-2000:])
            else:
                outcome.note = f"{covered[-1][0]} edges, {covered[-1][2]} inputs kept"
            outcomes.append(outcome)
    return outcomes


async def schema(options: Options) -> list[Outcome]:
    """Schemathesis on the OpenAPI document, all checks, chains of calls included."""
    outcome = Outcome("Schemathesis")
    async with open_target() as target:
        code, output = await _output(
            *("schemathesis", "--config-file", str(_HERE / "schemathesis.toml"), "run"),
            *(f"{target.http}/openapi.json", "-H", f"Authorization: Bearer {target.token}"),
            *("--checks", "all", "--max-examples", str(options.examples), "--seed", str(options.seed)),
            *("--continue-on-failure", "--no-color", "--warnings", "off", "--suppress-health-check", "all"),
        )
    generated = re.search(r"(\d+) generated", output)
    tested = re.search(r"Tested: (\d+)", output)
    outcome.tried = int(generated[1]) if generated else 0
    outcome.note = f"{tested[1] if tested else 0} operations"
    if code:
        outcome.failures = re.findall(r"^- (.*)$", output, re.MULTILINE) or [output[-2000:]]
    return [outcome]


async def autobahn(options: Options) -> list[Outcome]:
    """Autobahn's WebSocket cases."""
    found = await run_autobahn()
    if isinstance(found, str):
        return [Outcome("Autobahn", note=found, skipped=True)]
    suite, behaved, failed = found
    outcome = Outcome(f"Autobahn ({suite})", sum(behaved.values()))
    outcome.note = ", ".join(f"{count} {how}" for how, count in behaved.most_common())
    for case, how in failed.items():
        allowed, why = EXCEPTIONS.get(case, ("", ""))
        if how == allowed:
            outcome.note += f"; {case} is excepted: {why}"
        else:
            outcome.failures.append(f"{case}: {how}")
    return [outcome]


async def browser(options: Options) -> list[Outcome]:
    """Script payloads in a real browser."""
    found = await run_payloads()
    if isinstance(found, str):
        return [Outcome("scripts in a browser", note=found, skipped=True)]
    outcome = Outcome("scripts in a browser", found.payloads)
    outcome.note = (
        f"{found.pages} pages of the hub's, {len(found.ran)} ran, {len(found.elsewhere)} asked elsewhere"
    )
    outcome.note += f"; as pages of the campaign's own {len(found.control)} ran"
    outcome.failures += [f"payload {number} ran" for number in sorted(found.ran)]
    outcome.failures += [f"asked for {address}" for address in sorted(found.elsewhere)]
    outcome.failures += [f"not shown: {page}" for page in found.unseen]
    if len(found.control) < found.payloads:
        outcome.failures.append("some payloads do not even run as web pages: what they show is nothing")
    return [outcome]


async def attacks(options: Options) -> list[Outcome]:
    """Another user's calls, on every transport, while a hub is attacked; and the hub's memory and runs."""
    outcome, rows = Outcome("attacks"), []
    seconds = options.attack_s
    async with open_rig(before_s=seconds, attack_s=seconds, tries=TRIES, another_hub=options.control) as rig:
        for number, name in enumerate(options.attacks, 1):
            try:
                row = await rig.run(ATTACKS[name])
            except (StartFailed, TimeoutError, HubError, httpx.HTTPError) as error:
                outcome.failures.append(f"{name}: not measured: {type(error).__name__} {error}")
                log(f"{number} of {len(options.attacks)} {outcome.failures[-1]}")
                continue
            rows.append(row)
            log(f"{number} of {len(options.attacks)} {' | '.join(row.cells)} | {row.said}")
            outcome.failures += [f"{name}: {missed}" for missed in row.missed]
    print(f"{table(rows, control=options.control)}\n")
    outcome.tried = len(rows)
    outcome.note = f"{sum(not row.missed for row in rows)} held"
    return [outcome]


PARTS: dict[str, Callable[[Options], Awaitable[list[Outcome]]]] = {
    each.__name__: each for each in (fuzz, schema, autobahn, browser, attacks)
}


def log(text: str) -> None:
    """Print the progress to standard error."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


async def campaign(names: list[str], options: Options) -> list[Outcome]:
    """The parts, one after the other."""
    outcomes = []
    for name in names:
        log(name)
        outcomes += await PARTS[name](options)
    return outcomes


def described_attacks() -> str:
    """The attacks by family, with what they do."""
    lines = ["attacks:"]
    for family in FAMILIES:
        lines += ["", f"  {family.title}", *(f"    {each.name}: {each.what}" for each in family.attacks)]
    return "\n".join(lines)


def main() -> int:
    """Run what is asked for; 1 if anything failed."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.hostile",
        description=__doc__,
        epilog=described_attacks(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; all if none")
    parser.add_argument("--seconds", type=int, default=60, help="for each fuzzed reader (60)")
    parser.add_argument("--examples", type=int, default=100, help="for each operation and check (100)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--attack", action="append", metavar="NAME", help="one of the attacks below; again for more (all)"
    )
    parser.add_argument("--attack-seconds", type=float, default=8.0, help="of each attack, and before it (8)")
    parser.add_argument(
        "--control",
        choices=[ANOTHER_HUB],
        help="aim each attack also at a hub of this machine that the other user does not call: what the "
        "calls take then is the machine's share",
    )
    given = parser.parse_args()
    chosen = tuple(given.attack or ATTACKS)
    for what, names, known in (("part", given.parts, PARTS), ("attack", chosen, ATTACKS)):
        if unknown := [name for name in names if name not in known]:
            parser.error(f"there is no {what} {unknown[0]}: choose of {', '.join(known)}")
    control = given.control == ANOTHER_HUB
    options = Options(given.seconds, given.examples, given.seed, chosen, given.attack_seconds, control)
    outcomes = asyncio.run(campaign(given.parts or list(PARTS), options))
    width = max(len(outcome.name) for outcome in outcomes)
    for outcome in outcomes:
        tried = "skipped" if outcome.skipped else f"{outcome.tried:,}"
        failed = "" if outcome.skipped else f"{len(outcome.failures)} failed"
        print(f"{outcome.name:{width}}  {tried:>12}  {failed:>9}  {outcome.note}")
    for outcome in outcomes:
        for failure in outcome.failures:
            print(f"\n{outcome.name}: {failure}")
    return int(any(outcome.failures for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main())
