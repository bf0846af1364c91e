"""The names of settings in the environment: old ones, and ones that look misspelt."""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from difflib import get_close_matches

#: Set to anything except 0: a command shows where an unexpected error came from.
DEBUG = "IDEO_DEBUG"
#: Names of the first release, which are read where the present name is not set.
RENAMED = {
    "IDEO_RUN_LONGEST_S": "IDEO_RUN_MAX_DURATION_S",
    "IDEO_LIVE_RUNS": "IDEO_MAX_ACTIVE_RUNS",
    "IDEO_STREAMS": "IDEO_MAX_STREAMS",
    "IDEO_CONNECTIONS": "IDEO_MAX_CONNECTIONS",
    "IDEO_GRPC_CALLS": "IDEO_GRPC_MAX_CALLS",
    "IDEO_GRPC_PEERS": "IDEO_GRPC_ALLOWED_SANS",
    "IDEO_GRPC_CONNECTION_AGE_S": "IDEO_GRPC_MAX_CONNECTION_AGE_S",
    "IDEO_CREATES_PER_MINUTE": "IDEO_MAX_CREATES_PER_MINUTE",
    "IDEO_DATABASE_POOL": "IDEO_DATABASE_MAX_CONNECTIONS",
    "IDEO_JOURNAL_DAYS": "IDEO_JOURNAL_RETENTION_DAYS",
    "IDEO_QUEUE_MIB": "IDEO_MAX_QUEUE_MIB",
    "IDEO_WINDOW_MIB": "IDEO_MAX_WINDOW_MIB",
}
#: Names that the programs in docs/ read.
_OF_EXAMPLES = ("IDEO_GRPC", "IDEO_REPOSITORY")
#: Prefix of the hub's own names, and of names that other programs may have as well.
_OWN, _SHARED = "IDEO_", ("DATABASE_", "DEEPAGENTS_")
#: What Kubernetes adds for each Service, such as one that is called ideo-hub.
_SERVICE_LINK = re.compile(r"\w+_SERVICE_(HOST|PORT)(_\w+)?|\w+_PORT_[0-9]+_(TCP|UDP|SCTP)(_\w+)?")
_SERVICE_ADDRESS = re.compile(r"(tcp|udp|sctp)://")
#: How alike a shared name must be to one of ours before it is a misspelling.
_SURELY, _PERHAPS = 0.85, 0.6


def old_names_in_use() -> dict[str, str]:
    """The old names that the environment has, each with the present name."""
    return {old: new for old, new in RENAMED.items() if old in os.environ}


def unknown_names(known: Collection[str]) -> dict[str, str]:
    """Names in the environment that look like settings and are not, each with the likeliest name or ``."""
    found = {}
    for name, value in sorted(os.environ.items()):
        own = name.startswith(_OWN)
        if name in known or name in RENAMED or name in _OF_EXAMPLES or not (own or name.startswith(_SHARED)):
            continue
        if _SERVICE_LINK.fullmatch(name) or _SERVICE_ADDRESS.match(value):
            continue
        alike = get_close_matches(name, [*known], n=1, cutoff=_PERHAPS if own else _SURELY)
        if own or alike:
            found[name] = alike[0] if alike else ""
    return found
