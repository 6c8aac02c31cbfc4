"""Decodes a Parquet file in a process of its own: a damaged file can make the decoder abort, which no caller can catch.

Run as `python -m market.isolate FILE OUT`; prints a fault as JSON, or null after the table was written to OUT.
"""

import io
import subprocess
import sys
import tempfile
from pathlib import Path

import msgspec
import polars as pl

from market.checks import Fault
from market.table import read_columns

#: Far above what MAX_ROWS need, far below what a damaged length can ask for.
MEMORY_BYTES = 16 * 2**30
TIMEOUT_S = 300


def read_isolated(file: Path) -> pl.DataFrame | Fault:
    """`table.read_columns` in a child: if it dies or hangs, the file is at fault and this process goes on."""
    try:
        with tempfile.TemporaryDirectory(prefix="sluice-import-") as folder:
            out = Path(folder) / "table.arrow"
            command = [sys.executable, "-m", "market.isolate", str(file.resolve()), str(out)]
            done = subprocess.run(
                command, capture_output=True, stdin=subprocess.DEVNULL, timeout=TIMEOUT_S, check=False
            )
            if done.returncode:
                how = f"signal {-done.returncode}" if done.returncode < 0 else f"status {done.returncode}"
                return Fault(None, f"it is damaged (reading it ended with {how})")
            said = msgspec.json.decode(done.stdout, type=Fault | None)
            return said if said is not None else pl.read_ipc(io.BytesIO(out.read_bytes()))
    except subprocess.TimeoutExpired:
        return Fault(None, f"it is damaged (reading it did not end within {TIMEOUT_S} s)")
    except OSError as e:
        return Fault(None, f"it cannot be read ({e.strerror or e})")


def main(arguments: list[str]) -> None:
    _limit_memory()
    file, out = map(Path, arguments)
    table = read_columns(file)
    if isinstance(table, pl.DataFrame):
        table.write_ipc(out)
    answer = table if isinstance(table, Fault) else None
    sys.stdout.buffer.write(msgspec.json.encode(answer))


def _limit_memory() -> None:
    if sys.platform != "linux":
        return  # elsewhere the limit is not enforced or not there
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    soft = MEMORY_BYTES if hard == resource.RLIM_INFINITY else min(MEMORY_BYTES, hard)
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


if __name__ == "__main__":
    main(sys.argv[1:])
