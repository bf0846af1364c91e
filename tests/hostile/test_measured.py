"""What the table of the attacks says of the machine, and of the hub."""

from __future__ import annotations

from tests.hostile.attacks.bystander import TRANSPORTS, Call, Calls
from tests.hostile.attacks.machine import Usage
from tests.hostile.attacks.measured import Measured, measured, table

USAGE = Usage(memory_mib=100, loop_s=0, cpu_share=0.5, others_share=0)


def calls(seconds: float) -> Calls:
    """Calls that all took so long."""
    some = [Call(10.0 + number, seconds) for number in range(5)]
    return Calls({name: list(some) for name in TRANSPORTS}, some)


def row(on_control: Calls | None) -> Measured:
    """An attack with which calls take 0.3 s instead of 0.1 s."""
    return measured(
        "nothing",
        calls(0.1),
        calls(0.3),
        on_control=on_control,
        usage=USAGE,
        owner_changes=0,
        attacker_share=0.1,
        said="",
    )


def cells(on_control: Calls | None) -> dict[str, str]:
    """The table's only row, by the heads of its columns."""
    lines = table([row(on_control)], control=on_control is not None).splitlines()
    head, _, only = [line.strip("| ") for line in lines if line.startswith("|")]
    return dict(zip(*([cell.strip() for cell in line.split("|")] for line in (head, only)), strict=False))


def test_what_the_same_attack_on_another_hub_costs_is_the_share_of_the_machine() -> None:
    found = cells(calls(0.15))
    assert found["p99 without, ms"] == "100"
    assert found["machine's share, ms"] == "150"
    assert found["with, ms"] == "300"
    assert (found["ratio"], found["÷ machine's"]) == ("3.0", "2.0")
    assert (found["/healthz machine's, ms"], found["/healthz max, ms"]) == ("150", "300")


def test_the_bars_are_the_same_with_a_control() -> None:
    assert [bool(row(control).late) for control in (None, calls(0.3))] == [True, True]
    assert "machine's share, ms" not in cells(None)


def test_calls_that_wait_when_an_attack_ends_belong_to_it() -> None:
    found = Calls({"JSON": [Call(1.0, 0.5), Call(2.5, 1.0), Call(3.0, 0.1)]}, [Call(2.5, 0.1)])
    assert found.under_way(1.2, 2.0) == Calls({"JSON": [Call(2.5, 1.0)]}, [])
    assert found.between(1.2, 2.6) == Calls({"JSON": [Call(2.5, 1.0)]}, [Call(2.5, 0.1)])
