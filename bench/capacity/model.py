"""What a number of followers and live runs needs: arithmetic on measured unit costs, without bursts.

Runs are driven by the replica that got their start, followers are spread at random, and a replica's loop may
be busy for a part of the time only. What is not in: the runtime, reviews, lists, logins, TLS, and reconnects.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

_DAY_S = 86_400


class Carrier(Enum):
    """How replicas learn of each other's commits."""

    NOTIFY = "LISTEN/NOTIFY"
    STREAMS = "streams"


@dataclass(frozen=True, slots=True)
class Costs:
    """Unit costs. `_us`: microseconds of CPU; `_bytes`: of one event unless the name says otherwise."""

    #: The driver: from the frame to the committed event, without followers.
    ingest_us: float
    #: A replica that follows and does not drive: an event up to its window, by either carrier.
    notify_topic_us: float
    streams_topic_us: float
    #: One delivery, where few followers of a run are on a replica.
    websocket_us: float
    grpc_us: float
    #: PostgreSQL: a commit of one event, one of several runs, and each event in either; and a hint, with the
    #: read of the journal that follows it on another replica.
    commit_one_us: float
    commit_us: float
    commit_event_us: float
    remote_read_us: float
    #: The carrier's server: an event added, and one read by one replica.
    stream_add_us: float
    stream_read_us: float
    #: Each stream that a read names, in the replica and in the server; and the rest between two reads.
    name_us: float
    name_redis_us: float
    read_pause_us: float
    #: A replica, each hint that it receives.
    hint_us: float
    #: What one journal's writer commits a second, at most.
    writer_commits_per_s: float
    wal_bytes: float
    #: As written, and after the end of the run, when rows are joined.
    table_bytes: float
    joined_bytes: float
    frame_bytes: float
    #: An event over a WebSocket, with the headers of TCP and IP.
    delivery_bytes: float
    follower_kib: float
    run_kib: float
    #: The program, its worker for frames, and what readers share.
    replica_mib: float
    #: How often a replica sends what is new, a second: statements of `NOTIFY`, entries of streams.
    notify_per_s: float = 20.0
    entries_per_s: float = 200.0


@dataclass(frozen=True, slots=True)
class Load:
    """What is asked for. events_per_s: of a live run, on average. grpc: the share of followers over gRPC.
    together: followers of a run reach one replica, because the gateway chooses it by the thread's id.
    shards: how many streams a replica reads if runs share streams; commits_per_s: of a writer that waits
    between commits; neither is built. busy: the part of a core that a replica may use."""

    followers: int
    runs: int
    events_per_s: float
    carrier: Carrier
    grpc: float = 0.05
    together: bool = False
    shards: int | None = None
    commits_per_s: float = math.inf
    busy: float = 0.6
    max_connections: int = 10_000


@dataclass(frozen=True, slots=True)
class Needs:
    """What the load needs. Cores are those in use, not those to buy."""

    replicas: int
    hub_cores: float
    replica_mib: float
    descriptors: float
    events_per_s: float
    deliveries_per_s: float
    #: Replicas other than the driver that follow a run, on average.
    remote_replicas: float
    commits_per_s: float
    postgres_cores: float
    postgres_read_cores: float
    connections: int
    wal_bytes_per_s: float
    table_bytes_per_day: float
    joined_bytes_per_day: float
    #: Hints or entries that replicas receive, of all together, a second.
    messages_per_s: float
    #: Statements that send hints, each of which takes the lock of PostgreSQL's queue.
    notifies_per_s: float
    #: Threads that a replica names in each read of streams, or hints that it receives a second.
    threads_a_replica: float
    carrier_cores: float
    in_bytes_per_s: float
    out_bytes_per_s: float


def remote_replicas(replicas: int, followers_a_run: float, *, together: bool) -> float:
    """How many replicas follow a run that another one drives, on average."""
    if together:
        following = min(1.0, followers_a_run)
    else:
        following = replicas * (1 - (1 - 1 / replicas) ** followers_a_run)
    return following * (replicas - 1) / replicas


def needs(load: Load, costs: Costs) -> Needs:
    """The needs with the fewest replicas whose loops have room and whose connections fit."""
    replicas = 1
    while not _fits(found := needs_of(replicas, load, costs), load):
        # What a replica does for itself grows with their number or shrinks: each number is tried.
        replicas += 1
    return found


def _fits(found: Needs, load: Load) -> bool:
    room = found.replicas * load.busy
    return found.hub_cores <= room and load.followers <= found.replicas * load.max_connections


def needs_of(replicas: int, load: Load, costs: Costs) -> Needs:
    """The needs with so many replicas, whether or not their loops have room."""
    events = load.runs * load.events_per_s
    deliveries = load.followers * load.events_per_s
    remote = remote_replicas(replicas, load.followers / load.runs, together=load.together)
    commits = min(events, replicas * min(load.commits_per_s, costs.writer_commits_per_s))
    several = min(1.0, events / commits - 1)
    commit_us = costs.commit_one_us + several * (costs.commit_us - costs.commit_one_us)
    hints = load.runs * min(load.events_per_s, costs.notify_per_s)
    entries = load.runs * min(load.events_per_s, costs.entries_per_s)
    by_notify = load.carrier is Carrier.NOTIFY
    topic_us = costs.notify_topic_us if by_notify else costs.streams_topic_us
    delivery_us = (1 - load.grpc) * costs.websocket_us + load.grpc * costs.grpc_us
    hub_us = events * (costs.ingest_us + remote * topic_us) + deliveries * delivery_us
    reads_us = hints * remote * costs.remote_read_us if by_notify else 0.0
    carrier_us = entries * (costs.stream_add_us + remote * costs.stream_read_us)
    followed = load.runs * remote / replicas
    names = followed if load.shards is None else min(followed, load.shards)
    # A read answers at once while entries come, and a replica reads again when it has taken the answer.
    sent = min(entries * remote / replicas, (replicas - 1) * costs.entries_per_s)
    reads = min(sent, 1e6 / (costs.read_pause_us + names * costs.name_us))
    if by_notify:
        hub_us += replicas * hints * costs.hint_us * (replicas > 1)
    else:
        hub_us += replicas * reads * names * costs.name_us
        carrier_us += replicas * reads * names * costs.name_redis_us
    kib = load.followers * costs.follower_kib + load.runs * (1 + remote) * costs.run_kib
    return Needs(
        replicas=replicas,
        hub_cores=hub_us / 1e6,
        replica_mib=costs.replica_mib + kib / replicas / 1024,
        descriptors=(load.followers + load.runs) / replicas,
        events_per_s=events,
        deliveries_per_s=deliveries,
        remote_replicas=remote,
        commits_per_s=commits,
        postgres_cores=(commits * commit_us + events * costs.commit_event_us + reads_us) / 1e6,
        postgres_read_cores=reads_us / 1e6,
        connections=replicas * 12,
        wal_bytes_per_s=events * costs.wal_bytes,
        table_bytes_per_day=events * costs.table_bytes * _DAY_S,
        joined_bytes_per_day=events * costs.joined_bytes * _DAY_S,
        # Each replica hears all hints; of streams it reads those that it follows.
        messages_per_s=hints * replicas if by_notify else entries * remote,
        notifies_per_s=replicas * min(costs.notify_per_s, events / replicas) if by_notify else 0.0,
        threads_a_replica=hints if by_notify else names,
        carrier_cores=0.0 if by_notify else carrier_us / 1e6,
        in_bytes_per_s=events * costs.frame_bytes,
        out_bytes_per_s=deliveries * costs.delivery_bytes,
    )
