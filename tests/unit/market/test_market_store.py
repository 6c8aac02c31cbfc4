"""The store gives back what was put, byte for byte, or says that it cannot."""

import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from domain.candles import Candles
from domain.errors import BadInput, Unreachable
from domain.hashing import sha256_hex
from market.bundled import bundled
from market.importer import import_file
from market.store import DatasetStore


@pytest.fixture(scope="module")
def candles() -> Candles:
    return import_file(bundled()[0].path, trusted=True)


@pytest.fixture
def store(tmp_path: Path) -> DatasetStore:
    return DatasetStore(tmp_path / "deep" / "store")


@pytest.fixture
def small_files() -> Iterator[None]:
    """No file may grow beyond 64 KiB: a write fails half way, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (65_536, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_what_is_put_comes_back(store: DatasetStore, candles: Candles) -> None:
    digest = store.put(candles)
    assert digest == candles.hash()
    assert store.has(digest)
    assert store.get(digest).to_bytes() == candles.to_bytes()
    assert store.list() == ((digest, candles.info),)
    assert store.put(candles) == digest
    assert [p.name for p in store.folder.iterdir()] == [digest]
    assert (store.folder / digest).stat().st_mode & 0o777 == 0o644


def test_artifacts_are_kept_and_are_no_datasets(store: DatasetStore) -> None:
    digest = store.put_bytes(b"sorted hashes")
    assert digest == sha256_hex(b"sorted hashes")
    assert store.get_bytes(digest) == b"sorted hashes"
    assert store.list() == ()
    with pytest.raises(BadInput, match="not a dataset"):
        store.get(digest)


def test_an_altered_file_is_set_aside_and_reported(store: DatasetStore, candles: Candles) -> None:
    digest = store.put(candles)
    path = store.folder / digest
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(BadInput, match=f"{digest[:12]} was altered"):
        store.get(digest)
    assert not store.has(digest)
    [aside] = store.folder.iterdir()
    assert aside.name.startswith(f"{digest}.altered-")
    assert aside.read_bytes() == bytes(data)
    assert store.list() == ()
    assert store.get(store.put(candles)).hash() == digest


def test_putting_again_heals_an_altered_file(store: DatasetStore) -> None:
    digest = store.put_bytes(b"right")
    (store.folder / digest).write_bytes(b"wrong")
    store.put_bytes(b"right")
    assert store.get_bytes(digest) == b"right"


def test_a_full_disk_leaves_no_half_file(store: DatasetStore, candles: Candles, small_files: None) -> None:
    kept = store.put_bytes(b"small enough")
    with pytest.raises(Unreachable, match=r"could not be written .*nothing was kept"):
        store.put(candles)
    assert [p.name for p in store.folder.iterdir()] == [kept]
    assert not store.has(candles.hash())


def test_a_folder_that_cannot_be_is_unreachable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    store = DatasetStore(tmp_path / "file" / "store")
    with pytest.raises(Unreachable, match="nothing was kept"):
        store.put_bytes(b"x")
    with pytest.raises(Unreachable):
        store.list()


def test_what_is_missing_can_be_fetched_later(store: DatasetStore) -> None:
    with pytest.raises(Unreachable, match="is not in the store"):
        store.get("0" * 64)
    assert store.list() == ()


@pytest.mark.parametrize("name", ["", "../../etc/passwd", "0" * 63, "G" * 64, "0" * 64 + "\n"])
def test_only_hashes_name_files(name: str, store: DatasetStore) -> None:
    with pytest.raises(BadInput, match="is not a hash"):
        store.get_bytes(name)
    with pytest.raises(BadInput, match="is not a hash"):
        store.has(name)


@pytest.mark.parametrize("cut", [1, 8, 100, -17, -21])
def test_cut_datasets_are_refused(cut: int, candles: Candles, store: DatasetStore) -> None:
    data = candles.to_bytes()
    digest = store.put_bytes(data[: cut if cut < 0 else len(data) - cut])
    with pytest.raises(BadInput, match="cut"):
        store.get(digest)
    header_only = store.put_bytes(data[:40])
    with pytest.raises(BadInput, match="within its header"):
        store.get(header_only)
