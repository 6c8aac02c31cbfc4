"""Files that appear whole or not at all."""

import os
import tempfile
from pathlib import Path

from domain.errors import Unreachable


def write_whole(target: Path, data: bytes) -> None:
    """Write `data` to `target` by temporary file, fsync and rename (mode 0644); the folder must exist.

    Raises Unreachable when the disk is full or the folder cannot be written; then `target` is as it was.
    """
    temporary: Path | None = None
    try:
        descriptor, name = tempfile.mkstemp(prefix=".part-", dir=target.parent)
        temporary = Path(name)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fchmod(stream.fileno(), 0o644)
            os.fsync(stream.fileno())
        temporary.replace(target)
        _sync_folder(target.parent)
    except OSError as e:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        why = f"{target} could not be written ({e.strerror or e})"
        raise Unreachable(f"{why}; nothing was kept of it: free space or correct its folder, then try again") from e


def _sync_folder(folder: Path) -> None:
    """Make the rename survive a power loss; Windows has no such call and needs none."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
