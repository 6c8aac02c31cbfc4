"""What a read model is: a declared table, and pure handlers that turn an event into row changes.

Each column is *outcome* (a function of specs: results, verdicts, figures) or *trace* (times, agents, ids, sequences).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Protocol

from domain.errors import BadInput

Value = int | float | str | None
Key = tuple[Value, ...]
Row = Mapping[str, Value]
Kind = Literal["int", "real", "text"]
Role = Literal["outcome", "trace"]

_SQL_TYPE: dict[Kind, str] = {"int": "INTEGER", "real": "REAL", "text": "TEXT"}
_DEFAULT: dict[Kind, Value] = {"int": 0, "real": None, "text": ""}
INT64 = 2**63


class Column(NamedTuple):
    """`int` starts at 0, `text` at "", `real` at null (a figure that is not known is never 0)."""

    name: str
    kind: Kind
    role: Role


def outcome(kind: Kind, *names: str) -> tuple[Column, ...]:
    return tuple(Column(n, kind, "outcome") for n in names)


def trace(kind: Kind, *names: str) -> tuple[Column, ...]:
    return tuple(Column(n, kind, "trace") for n in names)


@dataclass(frozen=True)
class Table:
    """A table as declared. `outcome_if`: an SQL condition; only rows under it belong to the outcome digest.

    `wide`: rows of kilobytes. They lie in the order in which they came, with the key in an index: in a tree of such rows by a key
    that is a hash, every row would be written in the middle, and every look-up would read past whole rows.
    `late`: text columns whose value may be anything with a `text()`, asked for when the row is written, not with every event.
    """

    name: str
    key: tuple[str, ...]
    columns: tuple[Column, ...]
    outcome_if: str = "1"
    indexes: tuple[tuple[str, ...], ...] = ()
    wide: bool = False
    late: tuple[str, ...] = ()
    kinds: dict[str, Kind] = field(init=False, compare=False)
    names: tuple[str, ...] = field(init=False, compare=False)
    start: dict[str, Value] = field(init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "kinds", {c.name: c.kind for c in self.columns})
        object.__setattr__(self, "start", {c.name: _DEFAULT[c.kind] for c in self.columns})
        object.__setattr__(self, "names", tuple(c.name for c in self.columns))
        if self.names[: len(self.key)] != self.key:
            raise ValueError(f"the first columns of {self.name} must be its key")

    @property
    def outcome_names(self) -> tuple[str, ...]:
        return tuple(c.name for c in self.columns if c.role == "outcome")

    def blank(self, key: Key) -> dict[str, Value]:
        """A new row: the key and every column's start value."""
        row = self.start.copy()
        row.update(zip(self.key, key, strict=True))
        return row

    def create_sql(self) -> list[str]:
        columns = ", ".join(f"{c.name} {_SQL_TYPE[c.kind]}" for c in self.columns)
        indexes = [f"CREATE INDEX {self.name}_by_{'_'.join(i)} ON {self.name} ({', '.join(i)})" for i in self.indexes]
        return [
            f"CREATE TABLE {self.name} ({columns}, PRIMARY KEY ({', '.join(self.key)})) STRICT"
            + ("" if self.wide else ", WITHOUT ROWID"),
            *indexes,
        ]

    def check(self, values: dict[str, Value]) -> None:
        """Bring `values` into the form in which SQLite gives them back, in place; BadInput when one fits no column."""
        kinds = self.kinds
        for name, value in values.items():
            kind = kinds[name]
            if kind == "text":
                continue
            if kind == "int":
                if type(value) is bool:
                    values[name] = int(value)
                elif type(value) is not int or not -INT64 <= value < INT64:
                    raise BadInput(f"{value} is no 64-bit number for {name} in {self.name}")
            elif value is not None:
                try:
                    values[name] = float(value) + 0.0
                except OverflowError as e:
                    raise BadInput(f"a number too large for {name} in {self.name}") from e


class Put(NamedTuple):
    """A row change: `values` over the row under `key`, or over a blank one."""

    table: str
    key: Key
    values: dict[str, Value]


class View(Protocol):
    """All rows as they were before the event that is being applied."""

    def get(self, table: str, key: Key) -> Row | None: ...


class Fact(NamedTuple):
    """An event with its data decoded. `time` is the publisher's clock: shown, never ordered by."""

    id: str
    type: str
    source: str
    subject: str
    correlation: str
    time: str
    data: Any


Handler = Callable[[View, int, Fact], list[Put]]


@dataclass(frozen=True)
class ReadModel:
    """One table and what each event type does to it. Handlers are pure: BadInput refuses the event, nothing else is raised."""

    table: Table
    handlers: Mapping[str, Handler]

    def apply(self, view: View, seq: int, event: Fact) -> list[Put]:
        """The row changes that `event` at stream sequence `seq` brings; none for a type that this model does not read."""
        handler = self.handlers.get(event.type)
        return handler(view, seq, event) if handler else []


def number(row: Row | None, name: str) -> int:
    """An int column of a row, 0 when there is no row."""
    value = row[name] if row else 0
    return value if isinstance(value, int) else 0


def words(row: Row | None, name: str) -> str:
    """A text column of a row, "" when there is no row."""
    value = row[name] if row else ""
    return value if isinstance(value, str) else ""
