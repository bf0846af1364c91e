"""What an attack costs the other user and the hub, the bars, and the table."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from bench.figures import Table
from tests.hostile.attacks.bystander import TRANSPORTS, Call, Calls
from tests.hostile.attacks.first_release import FIRST_RELEASE
from tests.hostile.attacks.machine import Usage

#: The bars: another user's p99 with the attack by that without, the longest answer of /healthz, the memory of
#: the process and its workers, and the longest hold of its event loop, in seconds of processor time.
MAX_RATIO, MAX_PROBE_S, MAX_MEMORY_MIB, MAX_LOOP_S = 2.0, 0.25, 512.0, 0.1
#: A p99 up to this is held whatever it was without the attack. Attacker, other user, runtime and PostgreSQL
#: share the machine's two cores with the hub, which they would not elsewhere: two measurements without any
#: attack differ by as much.
FLOOR_S = 0.05


@dataclass(frozen=True)
class Transport:
    """The p99 of one transport, without the attack and with it, in seconds. `on_control_s`: while the attack
    was aimed at another hub on the same machine; None if it was not."""

    name: str
    without_s: float
    with_s: float
    on_control_s: float | None = None

    @property
    def ratio(self) -> float:
        """How many times as long."""
        return self.with_s / self.without_s

    @property
    def own_ratio(self) -> float | None:
        """How many times as long as with the attack on another hub: what this hub adds to what the machine
        costs."""
        return None if self.on_control_s is None else self.with_s / self.on_control_s

    @property
    def own(self) -> str:
        """The same, as text that follows the ratio."""
        return "" if self.own_ratio is None else f", {self.own_ratio:.1f} times the machine's share"

    @property
    def held(self) -> bool:
        """Whether it is within the bar."""
        return self.with_s <= max(FLOOR_S, MAX_RATIO * self.without_s)


@dataclass(frozen=True)
class Measured:
    """An attack and what it cost. `attacker_share`: what the attacker had of one processor. `said`: what
    became of it. `broken`: what the hub allowed and must not. `control_probe_s`, `control_said`: the
    same of the attack on another hub, if there was one."""

    name: str
    transports: Sequence[Transport]
    calls: int
    errors: Sequence[str]
    probe_s: float
    usage: Usage
    owner_changes: int
    attacker_share: float
    said: str
    broken: str = ""
    control_probe_s: float | None = None
    control_said: str = ""

    @property
    def late(self) -> list[str]:
        """The bars of time that are missed."""
        found = [
            f"{each.name} p99 {_ms(each.without_s)} -> {_ms(each.with_s)} ms "
            f"({each.ratio:.1f} times{each.own})"
            for each in self.transports
            if not each.held
        ]
        return [*found, f"/healthz {_ms(self.probe_s)} ms"] if self.probe_s > MAX_PROBE_S else found

    @property
    def harm(self) -> list[str]:
        """What no machine excuses."""
        found = [self.broken] if self.broken else []
        if self.errors:
            found.append(f"{len(self.errors)} of {self.calls} calls failed: {self.errors[0]}")
        if self.usage.memory_mib > MAX_MEMORY_MIB:
            found.append(f"{self.usage.memory_mib:.0f} MiB")
        if self.usage.loop_s > MAX_LOOP_S:
            found.append(f"a computation blocked the event loop for {_ms(self.usage.loop_s)} ms")
        if self.owner_changes:
            found.append(f"{self.owner_changes} runs changed their owner")
        return found

    @property
    def missed(self) -> list[str]:
        """The bars that are missed."""
        return self.harm + self.late

    @property
    def worst(self) -> Transport:
        """The transport that suffered most."""
        return max(self.transports, key=lambda each: (not each.held, each.ratio))

    @property
    def cells(self) -> list[str]:
        """Its row, as `heads` names the columns."""
        worst, control = self.worst, self.worst.on_control_s
        return [
            self.name,
            worst.name,
            _ms(worst.without_s),
            *([] if control is None else [_ms(control)]),
            _ms(worst.with_s),
            f"{worst.ratio:.1f}",
            *([] if worst.own_ratio is None else [f"{worst.own_ratio:.1f}"]),
            *([] if self.control_probe_s is None else [_ms(self.control_probe_s)]),
            _ms(self.probe_s),
            f"{self.usage.memory_mib:.0f}",
            _ms(self.usage.loop_s),
            str(self.owner_changes),
            "no" if self.missed else "yes",
            f"{self.usage.cpu_share:.0%}",
            f"{self.attacker_share:.0%}",
            f"{self.usage.others_share:.0%}",
            FIRST_RELEASE.get(self.name, ""),
        ]


def measured(
    name: str,
    before: Calls,
    during: Calls,
    *,
    on_control: Calls | None = None,
    usage: Usage,
    owner_changes: int,
    attacker_share: float,
    said: str,
    control_said: str = "",
    broken: str = "",
) -> Measured:
    """What the calls before and during an attack say. `on_control`: those during the same attack on another
    hub."""
    errors = [each.error for calls in during.of.values() for each in calls if each.error]
    errors += [f"/healthz: {each.error}" for each in during.probes if each.error]
    return Measured(
        name,
        [
            Transport(
                each,
                _p99(before.of[each]),
                _p99(during.of[each]),
                None if on_control is None else _p99(on_control.of[each]),
            )
            for each in TRANSPORTS
        ],
        sum(map(len, during.of.values())) + len(during.probes),
        errors,
        _longest(during.probes),
        usage,
        owner_changes,
        attacker_share,
        said,
        broken,
        None if on_control is None else _longest(on_control.probes),
        control_said,
    )


def _longest(calls: Sequence[Call]) -> float:
    return max((each.seconds for each in calls), default=float("inf"))


def _p99(calls: Sequence[Call]) -> float:
    """The p99 of the calls' seconds. Without any it is infinite: none ended in all the time."""
    if len(calls) < 2:
        return calls[0].seconds if calls else float("inf")
    return statistics.quantiles([each.seconds for each in calls], n=100, method="inclusive")[98]


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:,.0f}"


def heads(*, control: bool) -> list[str]:
    """The columns of a campaign's table. control: whether each attack was also aimed at another hub."""
    p99 = ["p99 without, ms", *(["machine's share, ms"] if control else []), "with, ms", "ratio"]
    probes = [*(["÷ machine's", "/healthz machine's, ms"] if control else []), "/healthz max, ms"]
    found = ["attack", "transport", *p99, *probes, "memory max, MiB", "loop max, ms"]
    return [*found, "owner changes", "held", "hub", "attacker", "others", "first release"]


def table(rows: Sequence[Measured], *, control: bool = False) -> str:
    """The table of a campaign. The p99 is that of the transport that suffered most; `machine's share` is
    what they take while the same attack is aimed at another hub of this machine; `hub` and `attacker` are
    what these had of one processor, `others` what processes outside the campaign had of the machine."""
    return str(Table("Attacks", heads(control=control), [row.cells for row in rows]))
