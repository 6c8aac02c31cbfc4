"""What JetStream answers, and what an error in it means to us: another was first, ask again, or never."""

import re

import msgspec

from domain.errors import Conflict, SluiceError, Unreachable

#: Another writer was first; 10164: a write over the same filter is under way; 10201: a batch holds an id that is stored.
WRONG_SEQUENCE = {10071, 10164, 10201}
#: Our own earlier try may still be on its way to the replicas (its id is known, its sequence is not), or all are busy.
IN_FLIGHT = {10158, 10163, 10167}
#: No leader now: an election is under way, or this node is cut off from the others.
NO_LEADER = {10008, 10009, 10118}
#: Parts of an atomic batch were lost on the way (a restart in between): nothing was stored, send it again.
BATCH_CUT = {10175, 10176}
STORE_FAILED = 10077
NO_MESSAGE = 10037
NO_STREAM = 10059
_LAST_SEQUENCE = re.compile(r"wrong last sequence: (\d+)")


class Refused(SluiceError):
    """The server will not take this message, and trying again will not change that."""


class SubjectTaken(Refused):
    """The subject may hold one message and has one already."""


class ApiError(msgspec.Struct):
    code: int = 0
    err_code: int = 0
    description: str = ""


class PubAck(msgspec.Struct):
    stream: str = ""
    seq: int = 0
    duplicate: bool = False
    error: ApiError | None = None


class StoredReply(msgspec.Struct):
    subject: str
    seq: int
    time: str
    data: str = ""
    hdrs: str = ""


class GetReply(msgspec.Struct):
    message: StoredReply | None = None
    error: ApiError | None = None


def headers_of(raw: bytes) -> dict[str, str]:
    lines = raw.decode(errors="replace").split("\r\n")[1:]
    return {k.strip(): v.strip() for k, _, v in (line.partition(":") for line in lines if line)}


def for_now(error: ApiError) -> bool:
    """Whether the same request can be answered otherwise in a moment (a node that has just lost its lead gives no code)."""
    return error.err_code in IN_FLIGHT | NO_LEADER or (error.code == 503 and error.err_code == 0)


def raise_for(error: ApiError, subject: str) -> None:
    if error.err_code in WRONG_SEQUENCE:
        said = _LAST_SEQUENCE.search(error.description)
        raise Conflict(f"{subject}: {error.description}", int(said[1]) if said else None)
    if error.err_code == STORE_FAILED and "per subject" in error.description:
        raise SubjectTaken(f"{subject} holds a message already")
    if (
        for_now(error)
        or error.code == 503
        or error.err_code in (10023, 10047, STORE_FAILED)
        or error.err_code in BATCH_CUT
    ):
        raise Unreachable(f"the server cannot store {subject} now: {error.description}")
    raise Refused(f"the server refuses {subject}: {error.description} ({error.err_code})")
