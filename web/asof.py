"""Answers as of an earlier sequence: the same questions, asked of the read models as they stood then."""

import sqlite3
import time
from collections.abc import Callable, Sequence
from typing import Annotated, Any

from litestar.params import QueryParameter

from projections.queries import Json
from projections.when import sequence_of
from web.services import Services

Rows = list[Json] | Json
AsOf = Annotated[
    str,
    QueryParameter(
        name="as_of",
        description="a sequence of the log, or a time (RFC 3339): the answer as it was then, under `result`",
    ),
]


async def sequence(services: Services, as_of: str) -> int:
    """The sequence that `as_of` means; BadInput for what is neither a sequence nor a time that is past."""
    return await sequence_of(services.bus, as_of, time.time_ns())


def as_it_was(seq: int, result: Any, not_recorded: Sequence[str] = ()) -> Json:
    """What marks an answer about the past; `not_recorded`: fields of `result` that no event tells of."""
    return {"as_of": seq, "not_recorded": list(not_recorded), "result": result}


async def read(services: Services, as_of: str, query: Callable[[sqlite3.Connection], Rows]) -> Rows:
    """The query's rows now, or, where `as_of` is given, what they were then, marked as such."""
    if not as_of:
        return await services.views.read(query)
    seq = await sequence(services, as_of)
    return as_it_was(seq, await services.past.read(seq, query))
