"""How every kernel is compiled: `njit(cache=True, nogil=True)`, no fastmath, no parallel, one cache folder per lane.

numba looks at the modification time of a function's own file alone, so that a kernel whose callee in another file
changed would come stale from the cache. The folder's name is the lane (a hash over all sources), so it cannot.
Divisions by zero are guarded in the kernels; `error_model="numpy"` only leaves out the check that would raise.
"""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
from numba.core import config as _config

from kernels.version import lane

config: Any = _config


def _writable(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def cache_folder() -> Path:
    """The first writable of: NUMBA_CACHE_DIR, this package's `__pycache__`, the user's cache, the temporary folder."""
    user = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    places = [Path(__file__).resolve().parent / "__pycache__", user / "sluice", Path(tempfile.gettempdir()) / "sluice"]
    if os.environ.get("NUMBA_CACHE_DIR"):
        places.insert(0, Path(os.environ["NUMBA_CACHE_DIR"]))
    return next((p / lane() for p in places if _writable(p / lane())), places[-1] / lane())


_FOLDER = str(cache_folder())


def jit(function: Callable[..., Any], inline: str = "never") -> Any:
    """Compile at the first call, or load from the lane's cache.

    Kernels allocate nothing, so that arrays need no reference counting (`_nrt`), an atomic operation at every turn: the
    plain loop is a quarter faster without, the fast path twice.
    """
    before = config.CACHE_DIR
    config.CACHE_DIR = _FOLDER
    options: dict[str, Any] = {"inline": inline, "_nrt": False}
    try:
        return numba.njit(cache=True, nogil=True, error_model="numpy", **options)(function)
    finally:
        config.CACHE_DIR = before


def inlined(function: Callable[..., Any]) -> Any:
    """As `jit`, for what is asked once a candle: a call of its own would pass every array by its seven parts."""
    return jit(function, inline="always")
