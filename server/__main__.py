"""The command `ideo`, also as `python -m server`.

The first thing that it does is to leave Ctrl-C to the operating system: until a command handles it, it ends
the process at once, and never with the traceback of an import.
"""

from __future__ import annotations

import signal


def main() -> None:
    """Run the command line."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    from server.cli.main import main as commands

    commands()


if __name__ == "__main__":
    main()
