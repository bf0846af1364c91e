"""The limits of a run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

#: What a new connection to the runtime gives: `full` (every frame from the first one, word for word), `ids`
#: (some frames again, no two of them equal) or `none` (frames from now on, or nothing known).
Profile: TypeAlias = Literal["none", "full", "ids"]

#: Seconds between two sweeps for runs that nobody drives.
SWEEP_S = 1.0


@dataclass(frozen=True, slots=True)
class RunLimits:
    """Limits of a run; times in seconds."""

    #: From the start of a run to its forced end.
    max_duration_s: float = 1800.0
    #: Silence of an open connection after which the runtime's state is asked.
    idle_s: float = 120.0
    #: Silence of an open connection after which a run fails that the runtime calls completed without a file.
    silent_s: float = 600.0
    #: Time for which `completed` without any file is doubted.
    empty_result_grace_s: float = 30.0
    #: Time for which a connection is read after its `end`, unless the runtime closes it.
    after_end_s: float = 0.3
    #: Time in which the rest of a large frame must come once there is room for it, which others wait for.
    rest_s: float = 20.0
    #: Between two questions about the runtime's state.
    state_poll_s: float = 2.0
    #: Between two questions about the state of a run that waits for a person.
    waiting_poll_s: float = 30.0
    #: Answers of "unknown thread" that do not lose a run; one more does.
    max_unknown_thread_answers: int = 5
    #: Connections in a row that break without a new frame after which the state decides.
    max_fruitless_reconnects: int = 3
    #: Between two questions about the state after an unanswered POST.
    uncertain_invoke_s: float = 2.0
    #: POSTs for one run.
    max_invoke_attempts: int = 2
    #: First pause before a new connection; doubles up to `max_reconnect_s`.
    reconnect_first_s: float = 0.2
    max_reconnect_s: float = 5.0
    #: Time that a closing replica waits for the runtime's answers to starts.
    start_grace_s: float = 1.5
    #: Time in which runs that are handed over stop, and then commit what is queued.
    release_s: float = 1.0
    #: Time in which a closing replica hands all of its runs over, also where the database does not answer.
    max_close_s: float = 6.0
    #: Time that the runtime has to stop a run that the hub has given up.
    stop_s: float = 5.0
    #: Time that a starter waits for one write of the database; the run itself waits on.
    starter_s: float = 3.5
    #: Takeovers of a run that got no further between them that do not fail it; one more does.
    max_takeovers: int = 5
    #: Time for which a run must be driven after a takeover to have got further, although it was quiet.
    advanced_s: float = 2.0
    #: Runs of one replica that read their journal at the same time after a takeover.
    max_restores: int = 8
    #: Pause before a call is repeated while the database cannot be reached.
    database_retry_s: float = 1.0
    #: Between two renewals of the leases held.
    renew_s: float = 5.0
    sweep_s: float = SWEEP_S
    #: Runs taken over by one statement; a sweep repeats it while there are more.
    max_claim_runs: int = 100
    profile: Profile = "none"
