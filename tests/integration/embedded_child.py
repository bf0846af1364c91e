"""A process with an embedded server. Says the DSN, then what happens at its end.

    python -m tests.integration.embedded_child DATA_DIR

`ready DSN` once it runs; on SIGINT `alive` when the server still answers at that moment; `stopped`
after its orderly stop. `refused WHY` when there is none to be had.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

import asyncpg

from server.embedded_postgres.errors import EmbeddedServerError
from server.embedded_postgres.server import embedded


async def main(data_dir: Path) -> None:
    """See the module."""
    interrupted = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, interrupted.set)
    try:
        async with embedded(data_dir) as dsn:
            print("ready", dsn, flush=True)
            await interrupted.wait()
            connection = await asyncpg.connect(dsn)
            await connection.execute("SELECT 1")
            await connection.close()
            print("alive", flush=True)
    except EmbeddedServerError as error:
        print("refused", error, flush=True)
    else:
        print("stopped", flush=True)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
