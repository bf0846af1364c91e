"""A process that computes for the hub: `python -m server.worker KIND CPU_SECONDS BYTES`, which the hub
starts."""

import os
import sys

#: Others come first: a large computation may take longer, and everybody else's calls may not.
NICENESS = 10

# Before the imports, which take longer than most computations.
os.nice(NICENESS)

from server.worker.process import main  # noqa: E402

main(sys.argv[1], float(sys.argv[2]), int(sys.argv[3]))
