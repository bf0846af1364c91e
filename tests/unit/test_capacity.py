"""The model of docs/scaling.md: sums that can be checked by hand, and a page that has its figures."""

from __future__ import annotations

import dataclasses

import pytest

from bench.capacity.costs import COSTS, SOURCES
from bench.capacity.model import Carrier, Costs, Load, needs, needs_of, remote_replicas
from bench.capacity.table import PAGE, tables, with_tables

#: Round figures, so that sums can be made by hand.
ROUND = Costs(
    ingest_us=100,
    notify_topic_us=60,
    streams_topic_us=50,
    websocket_us=20,
    grpc_us=60,
    commit_one_us=120,
    commit_us=200,
    commit_event_us=10,
    remote_read_us=100,
    stream_add_us=10,
    stream_read_us=5,
    name_us=4,
    name_redis_us=1,
    read_pause_us=1000,
    hint_us=0,
    writer_commits_per_s=500,
    wal_bytes=400,
    table_bytes=300,
    joined_bytes=40,
    frame_bytes=1000,
    delivery_bytes=200,
    follower_kib=20,
    run_kib=100,
    replica_mib=200,
)
LOAD = Load(followers=2_000, runs=1_000, events_per_s=10.0, carrier=Carrier.NOTIFY, grpc=0.5, together=True)


def test_one_replica_pays_for_events_and_deliveries_alone() -> None:
    found = needs_of(1, LOAD, ROUND)
    assert found.remote_replicas == 0
    # 10,000 events of 100 µs, and 20,000 deliveries, half of 20 and half of 60 µs.
    assert found.hub_cores == pytest.approx(1.0 + 0.8)
    # It commits 500 times a second, 20 events each: 500 of 200 µs, and 10,000 of 10 µs.
    assert found.commits_per_s == 500
    assert found.postgres_cores == pytest.approx(0.2)
    assert found.wal_bytes_per_s == 4_000_000
    assert found.out_bytes_per_s == 4_000_000
    assert found.replica_mib == pytest.approx(200 + (2_000 * 20 + 1_000 * 100) / 1024)
    assert found.joined_bytes_per_day == 10_000 * 40 * 86_400


def test_a_commit_of_one_event_costs_less_than_one_of_several_runs() -> None:
    quiet = dataclasses.replace(LOAD, events_per_s=0.1)
    assert needs_of(1, quiet, ROUND).postgres_cores == pytest.approx(100 * (120 + 10) / 1e6)


def test_followers_on_other_replicas_cost_a_topic_for_each_event_and_a_read_of_the_journal() -> None:
    found = needs_of(2, LOAD, ROUND)
    assert found.remote_replicas == 0.5
    assert found.hub_cores == pytest.approx(1.8 + 10_000 * 0.5 * 60 / 1e6)
    assert found.postgres_read_cores == pytest.approx(10_000 * 0.5 * 100 / 1e6)
    streams = needs_of(2, dataclasses.replace(LOAD, carrier=Carrier.STREAMS), ROUND)
    assert streams.postgres_read_cores == 0
    # 250 streams are named in each read; the other replica sends 200 times a second.
    assert streams.threads_a_replica == 250
    assert streams.carrier_cores == pytest.approx((10_000 * (10 + 0.5 * 5) + 2 * 200 * 250 * 1) / 1e6)
    assert streams.hub_cores == pytest.approx(1.8 + (10_000 * 0.5 * 50 + 2 * 200 * 250 * 4) / 1e6)


def test_a_replica_reads_streams_as_fast_as_it_can_while_many_others_send() -> None:
    spread = dataclasses.replace(LOAD, followers=20_000, carrier=Carrier.STREAMS, together=False)
    found = needs_of(10, spread, ROUND)
    names = 1_000 * found.remote_replicas / 10
    reads = 1e6 / (1_000 + names * 4)
    work = 10_000 * (100 + found.remote_replicas * 50) + 20_000 * 10 * 40
    assert found.hub_cores == pytest.approx((work + 10 * reads * names * 4) / 1e6)


def test_shared_streams_and_a_pause_between_commits_cost_less() -> None:
    streams = dataclasses.replace(LOAD, carrier=Carrier.STREAMS)
    built = needs_of(2, dataclasses.replace(streams, shards=10, commits_per_s=50), ROUND)
    as_it_is = needs_of(2, streams, ROUND)
    assert (built.threads_a_replica, built.commits_per_s) == (10, 100)
    assert built.hub_cores < as_it_is.hub_cores
    assert built.postgres_cores < as_it_is.postgres_cores


def test_each_replica_hears_all_hints_but_reads_the_streams_that_it_follows_alone() -> None:
    streams = dataclasses.replace(LOAD, carrier=Carrier.STREAMS)
    for replicas in (2, 20):
        assert needs_of(replicas, LOAD, ROUND).messages_per_s == 10_000 * replicas
        assert needs_of(replicas, streams, ROUND).messages_per_s < 10_000


def test_hints_are_joined_twenty_times_a_second() -> None:
    fast = dataclasses.replace(LOAD, events_per_s=100.0)
    assert needs_of(2, fast, ROUND).messages_per_s == 1_000 * 20 * 2


def test_followers_that_are_spread_are_on_as_many_replicas_as_chance_gives() -> None:
    assert remote_replicas(1, 10, together=False) == 0
    assert remote_replicas(1_000_000, 10, together=False) == pytest.approx(10, rel=1e-3)
    assert remote_replicas(2, 1, together=False) == pytest.approx(0.5)
    assert remote_replicas(4, 10, together=True) == 0.75


@pytest.mark.parametrize("carrier", Carrier)
@pytest.mark.parametrize("together", [False, True])
def test_the_number_of_replicas_is_the_least_that_has_room(carrier: Carrier, together: bool) -> None:
    load = dataclasses.replace(LOAD, carrier=carrier, together=together)
    found = needs(load, ROUND)
    assert found.hub_cores <= found.replicas * load.busy
    fewer = needs_of(found.replicas - 1, load, ROUND)
    assert fewer.hub_cores > fewer.replicas * load.busy


def test_connections_bound_the_followers_of_a_replica() -> None:
    idle = dataclasses.replace(LOAD, followers=100_000, events_per_s=0.001)
    assert needs(idle, ROUND).replicas == 10


def test_the_page_has_the_figures_of_the_model() -> None:
    page = PAGE.read_text()
    assert with_tables(page, tables()) == page, "run `poe capacity --write`"


def test_each_unit_cost_has_a_source() -> None:
    assert SOURCES.keys() == {field.name for field in dataclasses.fields(Costs)}
    assert COSTS.ingest_us > 0
