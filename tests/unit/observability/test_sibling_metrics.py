"""One exposition of those of several processes."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from server.observability.sibling_metrics import merged

FIRST = """\
# HELP ide_orchestrator_runs_live Active runs
# TYPE ide_orchestrator_runs_live gauge
ide_orchestrator_runs_live 2.0
# HELP ide_orchestrator_calls_total Calls
# TYPE ide_orchestrator_calls_total counter
ide_orchestrator_calls_total{endpoint="a b",status="\\n# HELP x{}"} 5.0
ide_orchestrator_calls_total{endpoint="invoke",status="200"} 7.0
"""
SECOND = FIRST.replace("2.0", "3.0").replace("7.0", "1e+09")


def test_each_family_comes_once_and_each_sample_has_the_number_of_its_process() -> None:
    families = list(text_string_to_metric_families(merged({1: FIRST, 2: SECOND})))
    assert [(family.name, family.type) for family in families] == [
        ("ide_orchestrator_runs_live", "gauge"),
        ("ide_orchestrator_calls", "counter"),
        ("ide_orchestrator_process_up", "gauge"),
    ]
    live, calls, up = [[(sample.labels, sample.value) for sample in family.samples] for family in families]
    assert live == [({"process": "1"}, 2), ({"process": "2"}, 3)]
    strange = {"endpoint": "a b", "status": "\n# HELP x{}"}
    plain = {"endpoint": "invoke", "status": "200"}
    assert calls == [
        ({"process": "1"} | strange, 5),
        ({"process": "1"} | plain, 7),
        ({"process": "2"} | strange, 5),
        ({"process": "2"} | plain, 1e9),
    ]
    assert up == [({"process": "1"}, 1), ({"process": "2"}, 1)]


def test_a_process_that_does_not_answer_is_down_and_the_others_are_shown() -> None:
    families = {family.name: family for family in text_string_to_metric_families(merged({1: None, 2: FIRST}))}
    live = families["ide_orchestrator_runs_live"].samples
    assert [(sample.labels, sample.value) for sample in live] == [({"process": "2"}, 2)]
    up = families["ide_orchestrator_process_up"].samples
    assert [(sample.labels["process"], sample.value) for sample in up] == [("1", 0), ("2", 1)]
