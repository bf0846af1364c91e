from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram, generate_latest

from server.observability.seconds_histogram import SecondsHistogram

BOUNDS = (0.001, 0.25, 1, 60)


def shown(registry: CollectorRegistry) -> list[str]:
    """What a scrape shows, without when it began."""
    return [line for line in generate_latest(registry).decode().splitlines() if "_created" not in line]


@given(st.lists(st.lists(st.sampled_from([0.0, 0.001, 0.0011, 0.25, 0.5, 1.0, 59.0, 60.0, 1e6]))))
def test_a_scrape_shows_what_the_library_shows(times: list[list[float]]) -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    histogram = SecondsHistogram("waited_seconds", "How long", BOUNDS)
    ours.register(histogram)
    expected = Histogram("waited_seconds", "How long", registry=theirs, buckets=BOUNDS)
    for seconds in times:
        histogram.observe(*seconds)
        for value in seconds:
            expected.observe(value)
    assert shown(ours) == shown(theirs)
