from __future__ import annotations

from server.http.intake import Budget


def test_a_budget_is_spent_at_once_and_grows_again_with_time() -> None:
    budget = Budget(burst=10, per_s=2, now=100.0)
    assert budget.spend(10, 100.0)
    assert not budget.spend(1, 100.0)
    assert budget.spend(3, 102.0)
    assert not budget.spend(1, 102.4)


def test_a_budget_does_not_grow_above_its_burst() -> None:
    budget = Budget(burst=10, per_s=2, now=0.0)
    assert budget.spend(10, 3600.0)
    assert not budget.spend(1, 3600.0)
