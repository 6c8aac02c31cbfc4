"""What the auditor keeps outside NATS: its key, seals, leaf hashes, and a webhook that hears of every seal."""

import asyncio
import logging
import urllib.error
import urllib.request
from collections import deque
from contextlib import suppress

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from bus.seals.files import LeafFile, append_seal, places, read_seals, read_tree, write_tree
from bus.seals.keys import make_or_read_key
from bus.seals.seal import SignedSeal
from bus.seals.tree import CompactRange
from bus.settings import Settings, StateDir
from domain.errors import Unreachable

log = logging.getLogger("sluice.auditor")
POST_S = 5.0
#: Seals that wait for a webhook that does not answer; older ones are dropped with a word.
WAITING = 1000


class Outside:
    """Files of one auditor; every call may block for a sync to disk."""

    key: Ed25519PrivateKey
    public: Ed25519PublicKey

    def __init__(self, state: StateDir, settings: Settings) -> None:
        self.places = places(state, settings)
        self.leaves = LeafFile(self.places.leaves)
        self._unwritten: list[SignedSeal] = []

    def open(self) -> None:
        try:
            self.places.private_key.parent.mkdir(mode=0o700, exist_ok=True)
            self.key = make_or_read_key(self.places.private_key, self.places.public_key)
        except OSError as e:
            raise Unreachable(f"the auditor's files cannot be made: {e}") from e
        self.public = self.key.public_key()

    def seals(self) -> list[SignedSeal]:
        return read_seals(self.places.seals) if self.places.seals.exists() else []

    def add(self, seals: list[SignedSeal]) -> None:
        """Append; what cannot be written now is written with the next ones (AUDIT holds it meanwhile)."""
        self._unwritten += seals
        while self._unwritten:
            try:
                append_seal(self.places.seals, self._unwritten[0])
            except OSError as e:
                log.error("the seal file %s cannot be written, it is tried with the next: %s", self.places.seals, e)
                return
            del self._unwritten[0]

    def keep(self, leaves: bytes) -> None:
        try:
            self.leaves.append(leaves)
        except OSError as e:
            raise Unreachable(f"leaf hashes cannot be written to {self.leaves.path} ({e}); free some space") from e

    def keep_tree(self, tree: CompactRange) -> None:
        try:
            write_tree(self.places.tree, tree)
        except OSError as e:
            log.warning("the tree is not kept, the next start takes longer: %s", e)

    def forget(self) -> None:
        """The leaf hashes are not those of the seals."""
        for path in (self.places.leaves, self.places.tree):
            path.unlink(missing_ok=True)

    def tree_at(self, signed: SignedSeal) -> CompactRange | None:
        """The tree at a seal: as it was kept, else from the leaf file; None when neither matches the seal."""
        seal = signed.seal
        if self.leaves.count() < seal.last_seq:
            return None
        tree = read_tree(self.places.tree, seal.size, seal.root)
        if tree is None:
            tree = CompactRange()
            for leaf in self.leaves.each(1, seal.last_seq):
                tree.append(leaf)
        return tree if tree.root().hex() == seal.root else None

    def cut(self, count: int, superseded: list[SignedSeal]) -> None:
        """Drop leaves after `count`; those that seals of an earlier epoch vouch for are kept aside."""
        try:
            lost = max((s.seal.last_seq for s in superseded), default=0)
            aside = self.leaves.path.with_name(f"leaves.through-{lost}")
            if lost > count and self.leaves.count() >= lost and not aside.exists():
                aside.write_bytes(self.leaves.path.read_bytes())
            self.leaves.truncate(count)
        except OSError as e:
            raise Unreachable(f"the leaf hashes in {self.leaves.path} cannot be written: {e}") from e


class Webhook:
    """Posts seals one after another, each within POST_S. What fails goes out with the next seal; nobody waits for it."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._waiting: deque[SignedSeal] = deque(maxlen=WAITING)
        self._task: asyncio.Task[None] | None = None

    def tell(self, seal: SignedSeal) -> None:
        if not self._url:
            return
        if len(self._waiting) == WAITING:
            log.error("the webhook has not answered for %d seals; the oldest one is not sent", WAITING)
        self._waiting.append(seal)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._send())

    async def _send(self) -> None:
        while self._waiting:
            try:
                await asyncio.to_thread(self._post, msgspec.json.encode(self._waiting[0]))
            except (OSError, ValueError, urllib.error.URLError) as e:
                log.warning("the webhook did not take a seal, it is sent with the next one: %s", e)
                return
            self._waiting.popleft()

    def _post(self, body: bytes) -> None:
        request = urllib.request.Request(self._url, body, {"content-type": "application/json"})
        with urllib.request.urlopen(request, timeout=POST_S):
            return

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
