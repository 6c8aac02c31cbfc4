"""Templates to HTML. A fragment is rendered once for each change, however many pages show it."""

import asyncio
from collections import OrderedDict
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from domain.errors import Unreachable
from projections.queries import UNIT_STATES
from web import words
from web.assets import Assets
from web.fragments import FRAGMENTS, Params, alarm
from web.live import Hub
from web.views import Views

KEPT = 256


def environment(assets: Assets) -> Environment:
    env = Environment(
        loader=PackageLoader("web"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
        auto_reload=False,
    )  # fmt: skip
    names = (
        "number",
        "percent",
        "duration",
        "size",
        "moment",
        "moment_ms",
        "day_ms",
        "ago",
        "state",
        "sentence",
        "short",
        "minus",
        "tone",
        "stake",
    )
    env.filters.update({name: getattr(words, name) for name in names})
    env.globals.update(
        asset=assets.url, UNIT_STATES=UNIT_STATES, DASH=words.DASH, MINUS=words.MINUS, SHAPES=words.SHAPES
    )
    return env


class Renderer:
    """`fragment` gives the same text for pages and for the stream; kept until what it depends on has changed."""

    def __init__(self, env: Environment, hub: Hub, views: Views) -> None:
        self.env, self.hub, self.views = env, hub, views
        self._kept: OrderedDict[tuple[str, tuple[tuple[str, str], ...]], tuple[tuple[int, int], str]] = OrderedDict()
        self._one = asyncio.Lock()
        self.rendered = 0

    def page(self, template: str, **values: Any) -> str:
        return self.env.get_template(template).render(**values)

    async def fragments(self, names: tuple[str, ...], params: Params) -> dict[str, str]:
        """HTML by name, all of one moment; those that have not changed cost nothing."""
        key = tuple(sorted(params.items()))
        async with self._one:
            versions = {n: (self.hub.data, self.hub.live if FRAGMENTS[n].live else 0) for n in names}
            stale = [n for n in names if self._kept.get((n, key), (None,))[0] != versions[n]]
            if stale:
                for name, text in (await asyncio.to_thread(self._render, stale, params)).items():
                    self._kept[(name, key)] = (versions[name], text)
                    self._kept.move_to_end((name, key))
            found = {n: self._kept[(n, key)][1] for n in names}
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return found

    def _render(self, names: list[str], params: Params) -> dict[str, str]:
        self.rendered += len(names)
        now = self.hub.now
        try:
            contexts = self.views.read_now(lambda con: {n: FRAGMENTS[n].context(con, now, params) for n in names})
        except Unreachable as e:
            nothing = self.page("_nothing.html", reason=str(e))
            return {n: self.page("_alarm.html", **alarm(now)) if n == "alarm" else nothing for n in names}
        return {n: self.page(f"_{n}.html", **contexts[n], params=params) for n in names}
