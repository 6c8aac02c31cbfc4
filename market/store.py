"""The local cache of datasets and artifacts, addressed by content: what is read is what was named, or an error."""

import re
import uuid
from pathlib import Path

from domain.candles import Candles, DatasetInfo, candles_from_bytes, info_from_bytes
from domain.errors import BadInput, Unreachable
from domain.hashing import sha256_hex
from market.files import write_whole

_HASH = re.compile(r"[0-9a-f]{64}")
#: The header of a dataset is a few hundred bytes; enough to list datasets without reading their candles.
_HEADER_BYTES = 4096


class DatasetStore:
    """Files named by the SHA-256 of their bytes in one folder; several processes may share it."""

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)

    def put(self, candles: Candles) -> str:
        """Keep a dataset and return its hash; raises Unreachable when it cannot be written, nothing half kept."""
        return self.put_bytes(candles.to_bytes())

    def get(self, digest: str) -> Candles:
        """The dataset of that hash; raises Unreachable when it is not here, BadInput when altered or no dataset."""
        return candles_from_bytes(self.get_bytes(digest))

    def put_bytes(self, data: bytes) -> str:
        """Keep any bytes (an artifact) and return their hash. A file altered since is replaced by the right bytes."""
        digest = sha256_hex(data)
        target = self._path(digest)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if target.is_file() and target.read_bytes() == data:
                return digest
        except OSError as e:
            raise Unreachable(f"the store {self.folder} cannot be used ({e.strerror or e}); nothing was kept") from e
        write_whole(target, data)
        return digest

    def get_bytes(self, digest: str) -> bytes:
        """The bytes of that hash, verified. An altered file is set aside under another name and reported as BadInput."""
        path = self._path(digest)
        try:
            data = path.read_bytes()
        except FileNotFoundError as e:
            raise Unreachable(f"{digest[:12]} is not in the store {self.folder}; fetch or import it first") from e
        except OSError as e:
            raise Unreachable(f"{digest[:12]} in the store {self.folder} cannot be read ({e.strerror or e})") from e
        if sha256_hex(data) != digest:
            raise BadInput(self._quarantine(path, digest))
        return data

    def has(self, digest: str) -> bool:
        """Whether a file of that name is here; its bytes are verified when they are read."""
        return self._path(digest).is_file()

    def list(self) -> tuple[tuple[str, DatasetInfo], ...]:
        """(hash, header) of every dataset here, by hash; artifacts, parts and files set aside are left out."""
        found = []
        try:
            paths = sorted(p for p in self.folder.iterdir() if _HASH.fullmatch(p.name) and p.is_file())
            for path in paths:
                with path.open("rb") as stream:
                    head = stream.read(_HEADER_BYTES)
                try:
                    found.append((path.name, info_from_bytes(head)))
                except BadInput:
                    continue  # an artifact, or a damaged file that `get` will report
        except FileNotFoundError:
            return tuple(found)
        except OSError as e:
            raise Unreachable(f"the store {self.folder} cannot be read ({e.strerror or e})") from e
        return tuple(found)

    def _path(self, digest: str) -> Path:
        if not _HASH.fullmatch(digest):
            raise BadInput(f"{digest[:80]!r} is not a hash of 64 hex digits")
        return self.folder / digest

    def _quarantine(self, path: Path, digest: str) -> str:
        aside = path.with_name(f"{digest}.altered-{uuid.uuid4().hex[:8]}")
        what = f"the stored file of {digest[:12]} was altered: its bytes have another hash"
        try:
            path.rename(aside)
        except OSError as e:
            return f"{what}; it could not be set aside ({e.strerror or e}): remove {path} and fetch it again"
        return f"{what}; it was set aside as {aside.name}: fetch or import the dataset again"
