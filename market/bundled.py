"""The real data that ships with Sluice (see datasets/PROVENANCE.md)."""

from importlib import resources
from pathlib import Path
from typing import NamedTuple

from market.granularity import market_of


class Bundled(NamedTuple):
    """A file that ships with us and the market it is of; `granularity_s` in seconds."""

    path: Path
    venue: str
    symbol: str
    granularity_s: int


def bundled() -> list[Bundled]:
    """Every bundled file, by name; ready for `importer.import_file(path)`, from a checkout as from a wheel."""
    folder = Path(str(resources.files("market") / "datasets"))
    return [Bundled(path, *market_of(path)) for path in sorted(folder.glob("*.parquet"))]
