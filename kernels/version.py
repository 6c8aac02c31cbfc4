"""The lane: which kernel this is. Miners take work of their own lane only, so that equal digests mean something."""

import functools
import hashlib
import sys
from importlib.metadata import version
from pathlib import Path

#: Modules of `domain` that define outcomes; the others may change without another lane.
DOMAIN_MODULES = (
    "candles", "execution", "genome", "grammar", "hashing", "metrics", "results", "risk", "specs", "sweep", "tasks", "tried",
)  # fmt: skip


def lane_sources() -> list[Path]:
    """All Python files below kernels/, the domain modules that define outcomes and the grammars, in a fixed order."""
    here = Path(__file__).resolve().parent
    domain = here.parent / "domain"
    files = [p for p in here.rglob("*.py") if "__pycache__" not in p.parts]
    files += [domain / f"{name}.py" for name in DOMAIN_MODULES]
    files += (domain / "grammars").glob("*.toml")
    return sorted((p for p in files if p.is_file()), key=lambda p: p.relative_to(here.parent).as_posix())


@functools.cache
def lane() -> str:
    """16 hex digits over the sources (line ends normalised), numpy's, numba's and Python's version. numba is not imported."""
    root = Path(__file__).resolve().parent.parent
    digest = hashlib.sha256()
    for path in lane_sources():
        body = path.read_bytes().replace(b"\r\n", b"\n")
        digest.update(f"{path.relative_to(root).as_posix()}\0{len(body)}\0".encode() + body)
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    digest.update(f"numpy {version('numpy')} numba {version('numba')} python {python}".encode())
    return digest.hexdigest()[:16]
