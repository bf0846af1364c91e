"""The limits of a run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class RunLimits:
    """Limits of a run; times in seconds."""

    #: From the start of a run to its forced end.
    max_duration_s: float = 1800.0
    #: Silence of the runtime after which the connection is given up.
    idle_s: float = 120.0
    #: Silence of a channel that fails a run which the runtime calls completed without a file.
    silent_s: float = 600.0
    #: How long `completed` without any file is doubted.
    empty_result_grace_s: float = 30.0
    #: Between two looks at the runtime's state.
    state_poll_s: float = 2.0
    #: Answers of "unknown thread" after which the run is lost.
    max_unknown_thread_answers: int = 5
    #: Connections in a row that broke without anything new after which the state decides.
    max_fruitless_reconnects: int = 3
    #: Between the two looks at the state after an uncertain invoke.
    uncertain_invoke_s: float = 2.0
    #: Most POSTs for one run.
    max_invoke_attempts: int = 2
    #: First pause before a new connection; doubles up to the next.
    reconnect_first_s: float = 0.2
    max_reconnect_s: float = 5.0
    #: How long a replica that goes away waits for the runtime's answers to starts.
    start_grace_s: float = 1.5
    #: How long a run that is handed over may take to commit what is queued.
    let_go_s: float = 1.0
    #: Takeovers in a row without a new event after which a run is failed.
    max_takeovers: int = 5
    #: Between two tries while the database is away.
    database_retry_s: float = 1.0
    #: Between two renewals of the leases held.
    renew_s: float = 5.0
    #: Between two looks for runs that nobody drives.
    sweep_s: float = 5.0
    #: Most runs taken over in one sweep.
    max_sweep_runs: int = 20
    #: What a new connection to the runtime gives: `none` (frames from now on, or nothing known), `full`
    #: (every frame from the first one, word for word) or `ids` (some frames again; no two are equal).
    profile: Literal["none", "full", "ids"] = "none"
