"""Where a copy lies: a folder, or an object store through fsspec (`s3://bucket/path`). Files are written whole or not at all."""

import os
from pathlib import Path
from typing import Any, Protocol

from domain.errors import BadInput, Unreachable

_PART = ".part"


def sync_folder(folder: Path) -> None:
    """Make what was made or renamed in it survive a power loss; Windows has no such call and needs none."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class Target(Protocol):
    """`where` as a person wrote it; names are relative, with `/`. All calls block."""

    where: str

    def read(self, name: str) -> bytes | None:
        """The whole file, None when there is none."""

    def write(self, name: str, data: bytes) -> None:
        """Durable when it returns; nobody ever sees half of it."""

    def sizes(self) -> dict[str, int]:
        """Every file there: name -> bytes."""


def open_target(where: str) -> Target:
    """BadInput when the kind of store is unknown or its package is not installed; nothing is touched yet."""
    scheme, separator, path = where.partition("://")
    if not separator:
        return FolderTarget(Path(where))
    if scheme == "file":
        return FolderTarget(Path(path))
    import fsspec  # by far not every command needs it

    try:
        # What another process wrote meanwhile must be seen: no cached listings.
        fs = fsspec.filesystem(scheme, skip_instance_cache=True, use_listings_cache=False)
    except ImportError as e:
        extra = "; install the package with its extra: sluice[s3]" if scheme in ("s3", "s3a") else ""
        raise BadInput(f"{scheme}:// needs a package that is not installed ({e}){extra}") from e
    except ValueError as e:
        raise BadInput(f"{where!r} is neither a folder nor an object store that fsspec knows: {e}") from e
    return ObjectTarget(fs, where, str(fs._strip_protocol(where)).rstrip("/"))


class FolderTarget:
    def __init__(self, root: Path) -> None:
        self.root, self.where = root, str(root)

    def read(self, name: str) -> bytes | None:
        try:
            return (self.root / name).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as e:
            raise Unreachable(f"{self.root / name} cannot be read: {e.strerror or e}") from e

    def write(self, name: str, data: bytes) -> None:
        path = self.root / name
        part = path.with_name(path.name + _PART)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with part.open("wb") as out:
                out.write(data)
                out.flush()
                os.fsync(out.fileno())
            part.replace(path)
            sync_folder(path.parent)
        except OSError as e:
            raise Unreachable(f"{path} cannot be written: {e.strerror or e}") from e

    def sizes(self) -> dict[str, int]:
        try:
            if not self.root.exists():
                return {}
            if not self.root.is_dir():
                raise BadInput(f"{self.root} is a file, a copy needs a folder")
            found = [p for p in self.root.rglob("*") if p.is_file() and p.suffix != _PART]
            return {p.relative_to(self.root).as_posix(): p.stat().st_size for p in found}
        except OSError as e:
            raise Unreachable(f"{self.root} cannot be read: {e.strerror or e}") from e


class ObjectTarget:
    """Objects appear whole when their upload is done, so that no temporary names are needed."""

    def __init__(self, fs: Any, where: str, root: str) -> None:
        if not root:
            raise BadInput(f"{where} names no place: it needs at least a bucket")
        self._fs, self.where, self._root = fs, where, root
        self._failures = _failures()

    def read(self, name: str) -> bytes | None:
        try:
            return bytes(self._fs.cat_file(f"{self._root}/{name}"))
        except FileNotFoundError:
            return None
        except self._failures as e:
            raise self._unreachable(e) from e

    def write(self, name: str, data: bytes) -> None:
        try:
            self._fs.pipe_file(f"{self._root}/{name}", data)
        except self._failures as e:
            raise self._unreachable(e) from e

    def sizes(self) -> dict[str, int]:
        try:
            found = self._fs.find(self._root, detail=True)
        except FileNotFoundError:
            return {}
        except self._failures as e:
            raise self._unreachable(e) from e
        start = len(self._root) + 1
        return {str(path)[start:]: int(info["size"]) for path, info in found.items()}

    def _unreachable(self, error: BaseException) -> Unreachable:
        words = " ".join(str(error).split()) or type(error).__name__
        return Unreachable(f"{self.where} cannot be used: {words}")


def _failures() -> tuple[type[Exception], ...]:
    """What stores raise when they cannot be reached or refuse us; S3's client has a family of its own."""
    known: tuple[type[Exception], ...] = (OSError, ValueError, RuntimeError, TimeoutError)
    try:
        from botocore.exceptions import BotoCoreError, ClientError
    except ImportError:
        return known
    return (*known, BotoCoreError, ClientError)
