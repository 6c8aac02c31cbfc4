"""Where servers are: one URL or several, separated by commas, as people write them."""

import random
from urllib.parse import urlsplit

from domain.errors import BadInput

PORT = 4222
SCHEMES = ("nats", "tls")


def server_urls(text: str) -> list[str]:
    """`nats://a:4222,b,c:4333` as whole URLs in that order; BadInput names the one that is none."""
    out: list[str] = []
    for part in text.split(","):
        word = part.strip()
        if not word:
            raise BadInput(f"{text!r} is no list of servers, such as nats://a:4222,nats://b:4222")
        url = word if "://" in word else f"nats://{word}"
        try:
            found = urlsplit(url)
            host, port = found.hostname, found.port or PORT
        except ValueError as e:
            raise BadInput(f"{word!r} is no address of a server: {e}") from e
        if found.scheme not in SCHEMES or not host or found.path.strip("/") or found.query:
            raise BadInput(f"{word!r} is no address of a server, such as nats://HOST:{PORT}")
        user = f"{found.netloc.rpartition('@')[0]}@" if "@" in found.netloc else ""
        out.append(f"{found.scheme}://{user}{address(host, port)}")
    return out


def address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def in_any_order(urls: list[str]) -> list[str]:
    """So that not all clients begin at the first one."""
    return random.sample(urls, len(urls))
