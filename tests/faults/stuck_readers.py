"""Readers that stop reading, among readers that do not."""

from __future__ import annotations

import asyncio
import re
import socket
import time
from dataclasses import dataclass, field
from datetime import datetime
from statistics import median

from websockets.asyncio.client import connect

from tests.faults.personas import HONEST
from tests.faults.rig.environment import Environment, Rig, open_rig
from tests.faults.rig.report import Result
from tests.faults.rig.run import Run

#: Frames a second, seconds of a part, and how many pairs of parts are measured: the machine has moods.
RATE = 10.0
PART_S = 16.0
PAIRS = 8
#: What comes before everybody is connected is not measured: it is the cost of coming, not of being stuck.
WARM_S = 3.0
_MADE_AT = re.compile(r'"create_time":"([^"]+)"')


@dataclass
class Latencies:
    """From an event's making to a reader's having it, in milliseconds."""

    since: float
    ms: list[float] = field(default_factory=list)

    def at(self, share: float) -> float:
        """The value below which `share` of all are."""
        ordered = sorted(self.ms)
        return ordered[min(int(len(ordered) * share), len(ordered) - 1)] if ordered else 0.0


async def _good(rig: Rig, run: Run, latencies: Latencies) -> int:
    """Read to the end; the number of events. Times are looked up in the text: a reader that parsed it all
    would measure itself."""
    url = f"ws{rig.replicas['A'].address.http.removeprefix('http')}/api/ws/refinements/{run.thread_id}"
    count = 0
    async with connect(
        url,
        additional_headers={"Authorization": f"Bearer {rig.environment.token}"},
        subprotocols=["ideo.v1"],  # type: ignore[list-item]
        max_size=None,
        proxy=None,
        compression=None,
    ) as reader:
        async for message in reader:
            now = time.time()
            for created in _MADE_AT.findall(str(message)):
                count += 1
                made = datetime.fromisoformat(created).timestamp()
                if made >= latencies.since:
                    latencies.ms.append((now - made) * 1000)
    return count


async def _stuck(rig: Rig, run: Run) -> socket.socket:
    """A client that is greeted and then reads no more."""
    loop = asyncio.get_running_loop()
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    raw.setblocking(False)
    host, port = rig.replicas["A"].address.http.removeprefix("http://").split(":")
    await loop.sock_connect(raw, (host, int(port)))
    request = (
        f"GET /api/ws/refinements/{run.thread_id} HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
        f"Sec-WebSocket-Protocol: ideo.v1\r\nAuthorization: Bearer {rig.environment.token}\r\n\r\n"
    )
    await loop.sock_sendall(raw, request.encode())
    await loop.sock_recv(raw, 1024)
    return raw


async def stuck_readers(environment: Environment, *, good: int, stuck: int) -> Result:
    """The same load without and with stuck readers, in turn: memory of the hub, and latency of the good
    ones, as the median of the rounds."""
    result = Result(f"{stuck} stuck readers among {good} good")
    figures: dict[int, list[tuple[float, float, float]]] = {0: [], stuck: []}
    async with open_rig(environment, "full") as rig:
        await rig.start("A")
        for number in range(2 * PAIRS + 1):
            # Without and with, with and without, …: neither always comes first.
            count = stuck if number and number % 4 in (2, 3) else 0
            script = f"big-{number}-{int(RATE * PART_S)}"
            run = await rig.run(HONEST.with_(script=script, rate=RATE), via="A", ways=["grpc"])
            latencies = Latencies(since=time.time() + WARM_S)
            reading = [asyncio.create_task(_good(rig, run, latencies)) for _ in range(good)]
            sockets = [await _stuck(rig, run) for _ in range(count)]
            peak = 0.0
            while not all(task.done() for task in reading):
                peak = max(peak, rig.replicas["A"].rss_mib())
                await asyncio.wait(reading, timeout=0.5)
            counts = {task.result() for task in reading}
            if counts != {int(RATE * PART_S) + 1}:
                result.fail("lost", f"round {number}: readers had {sorted(counts)} events")
            for raw in sockets:
                raw.close()
            if number:  # the first warms up
                figures[count].append((latencies.at(0.5), latencies.at(0.99), peak))
        result.add(await rig.settle(result.fault, within_s=30))
    for count, rounds in figures.items():
        p50, p99, peak = (round(median(column), 1) for column in zip(*rounds, strict=True))
        label = f"{good} good readers beside {count} stuck ones"
        result.notes[f"{label}: p50 ms, p99 ms, hub's peak MiB"] = (p50, p99, peak)
        result.notes[f"{label}: p99 of each round"] = [round(p99, 1) for _, p99, _ in rounds]
    ratios = sorted(
        round(with_[1] / without[1], 3) for without, with_ in zip(figures[0], figures[stuck], strict=True)
    )
    result.notes["p99 beside stuck ones by p99 without, of each pair, and their median"] = (
        ratios,
        round(median(ratios), 3),
    )
    return result
