"""The unit costs of docs/scaling.md, and where each comes from."""

from __future__ import annotations

from collections.abc import Mapping

from bench.capacity.model import Costs

COSTS = Costs(
    ingest_us=284,
    notify_topic_us=155,
    streams_topic_us=118,
    websocket_us=20,
    grpc_us=78,
    commit_one_us=214,
    commit_us=370,
    commit_event_us=13,
    remote_read_us=160,
    stream_add_us=1.9,
    stream_read_us=9.3,
    name_us=5.4,
    name_redis_us=0.65,
    read_pause_us=1000,
    hint_us=1.5,
    writer_commits_per_s=1000,
    wal_bytes=460,
    table_bytes=180,
    joined_bytes=38,
    frame_bytes=1080,
    delivery_bytes=180,
    follower_kib=18,
    run_kib=64,
    replica_mib=300,
)

_LOCKSTEP = "`poe capacity --measure"
_PAGE = "[performance](performance.md)"
#: What each cost is of, and where it comes from.
SOURCES: Mapping[str, tuple[str, str]] = {
    "ingest_us": ("the driver, an event from frame to commit", f"{_PAGE}, pace, less a delivery"),
    "notify_topic_us": (
        "a following replica, an event into its window, by hint and read",
        f"{_LOCKSTEP} wakeups`",
    ),
    "streams_topic_us": ("the same by an entry of a stream", f"{_LOCKSTEP} wakeups`"),
    "websocket_us": ("a delivery over WebSocket", f"{_PAGE}, live to 200"),
    "grpc_us": ("a delivery over gRPC", f"{_PAGE}, live to 200"),
    "commit_one_us": ("PostgreSQL, a commit of one event", f"{_LOCKSTEP} commits`, 1 run"),
    "commit_us": ("the same of several runs", f"{_LOCKSTEP} commits`, 10 runs"),
    "commit_event_us": ("PostgreSQL, each event in it", f"{_LOCKSTEP} commits`, 1,000 runs"),
    "remote_read_us": ("PostgreSQL, a hint and the read that follows", f"{_LOCKSTEP} wakeups`"),
    "stream_add_us": ("the streams' server, an entry added", f"{_LOCKSTEP} wakeups`"),
    "stream_read_us": ("the same, an entry read by a replica", f"{_LOCKSTEP} wakeups`"),
    "name_us": ("a replica, each stream that a read names", f"{_LOCKSTEP} followed`"),
    "name_redis_us": ("the streams' server, the same", f"{_LOCKSTEP} followed`"),
    "read_pause_us": (
        "from one read of streams to the next, besides the names",
        "assumed: a round trip and a turn",
    ),
    "hint_us": ("a replica, each hint of `NOTIFY`", f"{_LOCKSTEP} hints`"),
    "writer_commits_per_s": (
        "commits of one replica, at most",
        f"{_PAGE}, journal: p50 of 1.4 ms at 10,000 a second",
    ),
    "wal_bytes": ("WAL, an event", f"{_LOCKSTEP} commits`"),
    "table_bytes": ("table and indexes, an event as written", f"{_LOCKSTEP} commits`"),
    "joined_bytes": ("the same after the run's end", f"{_PAGE}, stored: `long_run`"),
    "frame_bytes": ("a frame of the runtime", f"{_PAGE}, stored: `long_run`"),
    "delivery_bytes": ("an event to a follower, with TCP and IP", "105 of an event, 75 of headers"),
    "follower_kib": ("a follower that waits", f"{_PAGE}, idle; without the kernel's buffers"),
    "run_kib": ("a live run where it is driven or followed", "assumed: a window of 300 events"),
    "notify_per_s": ("`NOTIFY` statements of a replica, at most", "[ADR 0011](adr/0011-wakeups.md)"),
    "entries_per_s": ("times a replica sends entries, at most", "`PAUSE_S` of `server/wakeups/redis.py`"),
    "replica_mib": ("a replica before followers and runs", "[deploy](howto/deploy.md#memory-of-a-pod)"),
}
