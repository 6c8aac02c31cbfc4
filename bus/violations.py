"""A violated permission is reported as that: the server says it out of turn, and the request it is about just gets no answer."""

import asyncio
import logging
import re
import ssl
from collections import deque

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

from bus.rights import is_served
from domain.errors import Forbidden

log = logging.getLogger("sluice.bus")
#: As nats-py hands it on: in small letters. The subject stands in quotation marks.
_VIOLATION = re.compile(r'permissions violation for (publish|subscription)[^"]*"([^"]+)"')
#: What an account without streams answers to the API of JetStream under its own name.
_NO_STREAMS = b'"err_code":10039,'
_SHORT = 300


class _Pending:
    __slots__ = ("forbidden", "limit", "subject")

    def __init__(self, subject: str, limit: asyncio.Timeout) -> None:
        self.subject, self.limit, self.forbidden = subject, limit, False


class Watched:
    """Requests of one connection, each with an ear for what the server says of its subject. No `user`: no rights."""

    def __init__(self, name: str, user: str) -> None:
        self.name, self.user = name, user
        self.connected = False
        self.last: Exception | None = None
        self._pending: set[_Pending] = set()
        self._violated: deque[str] = deque(maxlen=64)

    async def on_error(self, error: Exception) -> None:
        """The client's error callback."""
        self.last = error
        log.log(logging.ERROR if self.connected else logging.DEBUG, "%s: %s", self.name, error)
        found = _VIOLATION.search(str(error))
        if found is None or found[1] != "publish":
            return
        self._violated.append(found[2])
        for pending in self._pending:
            if pending.subject.lower() == found[2]:
                pending.forbidden = True
                pending.limit.reschedule(asyncio.get_running_loop().time())

    def turned_away(self) -> bool:
        """Whether the server said that it does not know this user (any more)."""
        return self.last is not None and "authorization violation" in str(self.last).lower()

    def hopeless(self) -> bool:
        """Whether it makes no sense to go on connecting: asked again, the server says the same."""
        return self.turned_away() or isinstance(self.last, ssl.SSLCertVerificationError)

    def violation(self, *subjects: str) -> Forbidden | None:
        """The error for the first of these subjects that the server said was violated."""
        return next((self._forbidden(s) for s in subjects if s.lower() in self._violated), None)

    def _forbidden(self, subject: str) -> Forbidden:
        return Forbidden(f"{self.user or 'this user'} may not publish on {subject}; nothing was stored")

    def _no_service(self, subject: str) -> Forbidden:
        return Forbidden(f"{self.user or 'this user'} has no such service: {subject}; nothing was done")

    async def request(
        self, nc: Client, subject: str, payload: bytes, headers: dict[str, str] | None, timeout_s: float
    ) -> Msg:
        """As the client's; Forbidden as soon as the server says so, or where nobody can ever answer this role."""
        try:
            async with asyncio.timeout(None) as limit:
                pending = _Pending(subject, limit)
                self._pending.add(pending)
                try:
                    msg = await nc.request(subject, payload, timeout=timeout_s, headers=headers)
                finally:
                    self._pending.discard(pending)
        except nats.errors.NoRespondersError as e:
            # Streams that are about to load do not answer either: only what is not imported never will.
            if self.user and not is_served(self.user, subject):
                raise self._no_service(subject) from e
            raise
        except TimeoutError as e:
            if pending.forbidden:
                raise self._forbidden(subject) from e
            raise
        if len(msg.data) < _SHORT and _NO_STREAMS in msg.data and self.user and not is_served(self.user, subject):
            raise self._no_service(subject)
        return msg
