"""Static files: read once, compressed once, named with their hash so that browsers may keep them for ever."""

import gzip
import hashlib
import mimetypes
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Any, NamedTuple

from litestar import Request, Response, get
from litestar.exceptions import NotFoundException
from litestar.params import FromPath

COMPRESSED = (".css", ".js", ".svg", ".txt", ".md")
YEAR = "public, max-age=31536000, immutable"


class Asset(NamedTuple):
    """`tag`: the beginning of the content's SHA-256; `packed` is "" where compressing is of no use."""

    kind: str
    body: bytes
    packed: bytes
    tag: str


def _walk(folder: Traversable, prefix: str = "") -> dict[str, Asset]:
    found: dict[str, Asset] = {}
    for item in folder.iterdir():
        name = prefix + item.name
        if item.is_dir():
            found |= _walk(item, name + "/")
            continue
        body = item.read_bytes()
        kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
        kind = kind.replace("application/javascript", "text/javascript")
        text = kind.startswith("text/")
        packed = gzip.compress(body, 9, mtime=0) if name.endswith(COMPRESSED) else b""
        found[name] = Asset(
            kind + ("; charset=utf-8" if text else ""), body, packed, hashlib.sha256(body).hexdigest()[:16]
        )
    return found


class Assets:
    """All files under web/static, by path."""

    def __init__(self) -> None:
        self.files = _walk(resources.files("web") / "static")

    def url(self, name: str) -> str:
        """`/static/NAME?v=HASH`; KeyError for a file that is not there: a mistake in a template."""
        return f"/static/{name}?v={self.files[name].tag}"


def route(assets: Assets) -> Any:
    @get("/static/{path:path}", include_in_schema=False, sync_to_thread=False)
    def static(request: Request[Any, Any, Any], path: FromPath[str]) -> Response[bytes]:
        asset = assets.files.get(path.lstrip("/"))
        if asset is None:
            raise NotFoundException(f"there is no file {path}")
        etag = f'"{asset.tag}"'
        fresh = request.query_params.get("v") == asset.tag
        headers = {"etag": etag, "cache-control": YEAR if fresh else "no-cache", "vary": "accept-encoding"}
        known = [t.strip().removeprefix("W/") for t in request.headers.get("if-none-match", "").split(",")]
        if etag in known:
            return Response(b"", status_code=304, headers=headers, media_type=asset.kind)
        if asset.packed and "gzip" in request.headers.get("accept-encoding", ""):
            return Response(asset.packed, headers=headers | {"content-encoding": "gzip"}, media_type=asset.kind)
        return Response(asset.body, headers=headers, media_type=asset.kind)

    return static
