"""What the attacks did to the first release, where it was measured: to compare with."""

from __future__ import annotations

from collections.abc import Mapping

_LOOP_HELD = "/healthz 20 to 24 s, runs changed their owner"

#: By the attack's name. What was measured is the same attack or a smaller one, on the same two cores.
FIRST_RELEASE: Mapping[str, str] = {
    "ws-continuations": _LOOP_HELD,
    "ws-pings": _LOOP_HELD,
    "ws-texts": _LOOP_HELD,
    "http-blank-lines": "200 of 200 connections open after 120 s",
    "http-connections": "every other client refused, probes too",
    "http-readiness": "a list 2.8 -> 58 ms",
    "http-definitions": "/healthz 2.7 s",
    "http-paths": "event loop held for 0.6 s",
    "grpc-calls-without-a-request": "every other call refused, 355 MiB",
    "grpc-calls-of-an-account": "every other call refused",
    "grpc-health-watches": "every other call refused",
    "grpc-half-messages": "463 MiB, held without end",
    "grpc-resets": "a call 0.32 s",
    "grpc-pings": "a call 0.05 s",
    "grpc-settings": "a call 0.05 s",
    "grpc-empty-data": "a call 0.05 s",
    "grpc-windows": "a call 0.05 s",
    "grpc-continuations": "a call 0.05 s",
    "grpc-silent": "/healthz unreachable for 170 s (1,024 descriptors)",
    "stopped-sockets-json": "3,586 MiB",
    "stopped-event-streams": "3,100 MiB",
    "stopped-sockets-legacy": "2,505 MiB with 30 readers",
    "stopped-watches": "1,915 MiB",
    "stopped-pages": "4.8 GiB for one page",
    "stopped-event-pages": "421 MiB for one page",
    "stopped-proposals": "942 MiB with 40 readers",
    "stopped-lists": "2,033 MiB with 20 readers",
    "readers-in-json": "/healthz 1.4 s, 1,010 MiB with 100 readers",
    "readers-that-come-late": "next event after 9.6 s with 200 readers",
    "readers-of-legacy-frames": "event loop held for 1.3 s, 734 MiB with 100 readers",
    "readers-of-many-runs": "1,141 MiB with 200 runs",
    "frames-interpolated-text": "event loop held for 23 s, all runs changed their owner",
    "frames-printed-numbers": "event loop held for 27 s, 3.8 GiB",
    "frames-empty-texts": "event loop held for 13 s, 4.0 GiB",
    "frames-deep-files": "event loop held for 11.6 s",
    "frames-long-path": "event loop held for 9.8 s",
    "frames-many-files": "/healthz 2.7 s",
    "frames-line-ends": "/healthz 1.8 s",
    "frames-large-text": "/healthz 1.1 s",
    "frames-of-ten-runs": "306 MiB for each run",
    "rights-streams-by-links": "58 streams where 5 are allowed",
    "rights-creates": "none counted: 270 tickets a second",
    "rights-of-a-removed-owner": "the link reads on for 90 days",
    "rights-of-strangers": "a grant shows the email address of its user",
    "rights-refused-upgrades": "an error entry in the log for each",
}
