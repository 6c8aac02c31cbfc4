"""Who may see the pages: a key and a token kept 0600, one-time links, signed sessions, and tokens against forged forms."""

import hashlib
import hmac
import secrets
import time
from pathlib import Path

import msgspec

from bus.accounts import write_private
from domain.errors import Unreachable

SESSION_S = 30 * 86_400
COOKIE = "sluice_session"


class Stored(msgspec.Struct):
    """`key` signs sessions; `token` is for scripts (`Authorization: Bearer`); `link` is good for one visit (hex each).

    `ended`: sessions that were signed out of, by id, with the time at which they would have ended by themselves.
    """

    key: str
    token: str
    link: str
    ended: dict[str, int] = {}


class Secrets:
    """One instance's, in `path`; made on the first start, so that sessions survive restarts."""

    def __init__(self, path: Path) -> None:
        self._path = path
        if path.exists():
            try:
                self._stored = msgspec.json.decode(path.read_bytes(), type=Stored)
            except (OSError, msgspec.MsgspecError) as e:
                raise Unreachable(
                    f"the keys of the pages in {path} cannot be read ({e}); delete it to make new ones"
                ) from e
        else:
            self._stored = Stored(secrets.token_hex(32), secrets.token_urlsafe(32), secrets.token_urlsafe(32))
            self._write()

    def _write(self) -> None:
        write_private(self._path, msgspec.json.encode(self._stored))

    @property
    def link(self) -> str:
        return self._stored.link

    @property
    def token(self) -> str:
        return self._stored.token

    def use_link(self, token: str) -> bool:
        """True once for the link that is valid now; another one is made at once, for the next browser."""
        if not token or not hmac.compare_digest(token.encode(), self._stored.link.encode()):
            return False
        self._stored.link = secrets.token_urlsafe(32)
        self._write()
        return True

    def is_bearer(self, token: str) -> bool:
        return hmac.compare_digest(token.encode(), self._stored.token.encode())

    def _sign(self, what: str) -> str:
        return hmac.new(bytes.fromhex(self._stored.key), what.encode(), hashlib.sha256).hexdigest()

    def new_session(self, now: float | None = None) -> str:
        """A cookie's value: id, when it ends, signature."""
        body = f"{secrets.token_hex(16)}.{int((now or time.time()) + SESSION_S)}"
        return f"{body}.{self._sign('session:' + body)}"

    def session(self, cookie: str, now: float | None = None) -> str:
        """The session's id, "" when the cookie is not ours, altered or too old."""
        body, _, signature = cookie.rpartition(".")
        if not hmac.compare_digest(signature.encode(), self._sign("session:" + body).encode()):
            return ""
        id, _, ends = body.partition(".")
        return id if int(ends) > (now or time.time()) and id not in self._stored.ended else ""

    def end_session(self, cookie: str) -> None:
        """From now on the cookie opens nothing, wherever a copy of it lies."""
        if not (id := self.session(cookie)):
            return
        now = time.time()
        kept = {i: ends for i, ends in self._stored.ended.items() if ends > now}
        self._stored.ended = kept | {id: int(cookie.split(".")[1])}
        self._write()

    def csrf(self, session: str) -> str:
        """What a form of this session must carry."""
        return self._sign("csrf:" + session)

    def is_csrf(self, session: str, token: str) -> bool:
        return bool(session) and hmac.compare_digest(token.encode(), self.csrf(session).encode())
