from __future__ import annotations

from structlog.testing import capture_logs

from server.http.origin_log import OriginLog


def test_refused_origins_are_logged_so_often_and_counted_otherwise() -> None:
    times = iter([*[0.0] * 1_000, 5.0])
    refused = OriginLog(lambda: next(times))
    with capture_logs() as entries:
        for number in range(1_001):
            refused.refused(trace_id=f"{number}", dev=False)
    logged = [entry["more"] for entry in entries]
    assert len(logged) < 30
    assert logged[-1] + len(logged) == 1_001
    assert {entry["event"] for entry in entries} == {"origin_refused"}
