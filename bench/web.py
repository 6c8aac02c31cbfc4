"""How fast and how heavy the pages are, with ten thousand strategies in the read model and real processes behind them."""

import asyncio
import gzip
import http.client
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

import msgspec

from bus.accounts import read_credentials
from bus.campaigns import campaign_spec, execution_for, request_campaign
from bus.client import Bus, Expect
from bus.envelope import Event, make_event, now_rfc3339
from bus.events import StrategyDiscovered, StrategyValidated
from cli.actions import register_dataset
from domain.genome import Genome, Operand, Risk, Rule, RuleSet, canonical_genome, genome_id
from domain.hashing import derived_id
from domain.metrics import Figures
from domain.results import Find, WindowFigures
from domain.specs import CampaignSpec, SearchSpec, strategy_id
from market.bundled import bundled
from market.importer import import_file
from market.store import DatasetStore

STRATEGIES, VALIDATED = 10_000, 2_000
#: What the pages must keep to: ms, ms, bytes, bytes.
TARGETS = {
    "get_overview_median_ms": 50.0,
    "event_to_page_p95_ms": 750.0,
    "page_bytes": 60e3,
    "page_with_charts_bytes": 160e3,
}
BATCH, REQUESTS, EVENTS = 150, 60, 25
T = TypeVar("T")


class Result(msgspec.Struct, frozen=True):
    """`baseline` is the target; `ratio` figure / baseline, below 1 is well."""

    case: str
    figure: float
    baseline: float
    ratio: float


def result(case: str, figure: float, target: str) -> Result:
    return Result(case, round(figure, 2), TARGETS[target], round(figure / TARGETS[target], 3))


def _until(what: str, check: Callable[[], T], timeout_s: float = 60.0) -> T:
    deadline = time.monotonic() + timeout_s
    while not (found := check()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {timeout_s:g} s: {what}")
        time.sleep(0.05)
    return found


class Site:
    """The pages of a running instance, asked with the token for scripts."""

    def __init__(self, file: dict[str, str]) -> None:
        self.netloc = urlsplit(file["url"]).netloc
        self.headers = {"authorization": f"Bearer {file['token']}", "accept-encoding": "gzip"}
        self.connection = http.client.HTTPConnection(self.netloc, timeout=20)

    def get(self, path: str) -> tuple[bytes, int]:
        """(content, bytes as sent)."""
        self.connection.request("GET", path, headers=self.headers)
        answer = self.connection.getresponse()
        body = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{path} answered {answer.status}: {body[:200]!r}")
        sent = len(body)
        return (gzip.decompress(body) if answer.headers.get("content-encoding") == "gzip" else body), sent

    def weight(self, path: str, *more: str) -> int:
        """Bytes as sent for a page with its scripts, styles and whatever it loads besides."""
        html, total = self.get(path)
        linked = re.findall(r'(?:src|href)="(/static/[^"]+)"', html.decode())
        return total + sum(self.get(p)[1] for p in dict.fromkeys((*linked, *more)))


@contextmanager
def instance() -> Iterator[tuple[Path, Site]]:
    """An instance of its own without miners, with pages."""
    with tempfile.TemporaryDirectory(prefix="sluice-bench-") as folder:
        state = Path(folder) / "state"
        state.mkdir()
        processes = []

        def start(*command: str) -> None:
            with (Path(folder) / f"{command[0]}.log").open("wb") as out:
                processes.append(
                    subprocess.Popen([sys.executable, "-m", *command, "--state", str(state)], stdout=out, stderr=out)
                )

        try:
            owns = (
                "--http"
                in subprocess.run(
                    [sys.executable, "-m", "cli", "up", "--help"], capture_output=True, text=True, check=True
                ).stdout
            )
            start(
                "cli",
                "up",
                "--nats-port",
                "0",
                "--empty",
                "--miners",
                "0",
                *(("--http", "127.0.0.1:0") if owns else ()),
            )
            _until("the instance runs", lambda: (state / "run.json").exists() and (state / "views.sqlite").exists())
            if not owns:
                start("web", "--http", "127.0.0.1:0")
            _until("the pages are there", lambda: (state / "web.json").exists())
            yield state, Site(json.loads((state / "web.json").read_text()))
        finally:
            for process in reversed(processes):
                process.terminate()
            for process in processes:
                process.wait(15)


def _genome(n: int) -> Genome:
    rules = (
        Rule(Operand("rsi", 10 + n % 40), "<", Operand("const", value=20.0 + n % 37)),
        Rule(Operand("close"), ">", Operand("sma", 20 + n // 40 % 200)),
    )
    risk = Risk(stop_bps=100 + 50 * (n % 9), target_bps=200 + 100 * (n // 9 % 9))
    return canonical_genome(Genome(direction="long", risk=risk, long=RuleSet(rules)))


def _find(n: int, search: SearchSpec) -> Find:
    """Figures of the size and shape of real ones."""
    names = ("mean_daily", "volatility", "sharpe", "sortino", "max_drawdown", "var_95", "cvar_95", "total_return")
    objective = (n * 37 % 1000 - 500) / 3e3
    daily: Figures = dict.fromkeys(names, objective)
    daily["days"] = 120
    tier1: Figures = {
        "trades": 60 + n % 50,
        "net_pnl": n % 100 - 50.0,
        "fees": 12.5,
        "win_rate": 0.4,
        "max_drawdown": 0.02,
    }
    genome, w = _genome(n), search.windows
    return Find(
        genome, genome_id(genome), objective, n % 5 != 0,
        tuple(WindowFigures(x.start, x.stop, tier1) for x in w.fitness),
        tuple(WindowFigures(x.start, x.stop, tier1) for x in w.walk_forward),
        daily, daily, daily, daily,
    )  # fmt: skip


def _event(n: int, search: SearchSpec, campaign: str) -> Event:
    found = _find(n, search)
    kind = StrategyValidated if n < VALIDATED else StrategyDiscovered
    data = kind(found.genome, found.genome_id, search, found, campaign, "bench")
    sid = strategy_id(found.genome_id, search)
    return make_event(data, id=derived_id("bench", n), source="bench", subject=sid, time=now_rfc3339())


async def _fill(state: Path) -> tuple[Bus, CampaignSpec, int]:
    """Real candles, and ten thousand strategies on them; returns the last sequence."""
    bus = await Bus.connect(read_credentials(state / "creds" / "admin.json"), "bench")
    candles = import_file(bundled()[0].path, trusted=True)
    digest = await register_dataset(bus, DatasetStore(state / "cache"), candles, "bench", "bench")
    spec = campaign_spec(
        digest, candles.info, units=1, replicas=2, seed=1, risk="LOW", population=20, generations=2, candles=0,
        grammar="full", name="bench",
    )  # fmt: skip
    assert execution_for(candles.info) == spec.search.execution
    for start in range(0, STRATEGIES, BATCH):
        events = [_event(n, spec.search, "bench") for n in range(start, min(start + BATCH, STRATEGIES))]
        await bus.append_batch([(e, Expect(e.nats_subject(), 0)) for e in events])
    return bus, spec, await bus.last_seq("EVENTS")


def _metric(site: Site, name: str) -> float:
    for line in site.get("/metrics")[0].decode().splitlines():
        if line.startswith(f"sluice_{name} "):
            return float(line.split()[1])
    return 0.0


def _get_times(site: Site) -> list[float]:
    site.get("/")
    times = []
    for _ in range(REQUESTS):
        at = time.perf_counter()
        site.get("/")
        times.append((time.perf_counter() - at) * 1e3)
    return times


async def _event_times(bus: Bus, spec: CampaignSpec, site: Site) -> list[float]:
    """From the moment at which a command is published to that at which the open page is sent what shows it."""
    host, _, port = site.netloc.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port), limit=1 << 22)
    request = f"GET /live?of=campaigns HTTP/1.1\r\nHost: {site.netloc}\r\nAuthorization: {site.headers['authorization']}\r\n\r\n"
    writer.write(request.encode())
    times = []
    for i in range(EVENTS):
        await asyncio.sleep(0.35 + i * 0.017)
        at = time.perf_counter()
        wanted = (await request_campaign(bus, spec, "bench", source="bench", valid_s=-1.0)).encode()
        async with asyncio.timeout(10):
            while wanted not in await reader.readline():
                continue
        times.append((time.perf_counter() - at) * 1e3)
    writer.close()
    return times


async def _measure(state: Path, site: Site) -> list[Result]:
    bus, spec, last = await _fill(state)
    try:
        await asyncio.to_thread(
            _until, "the read models have it all", lambda: _metric(site, "view_position") >= last, 120.0
        )
        count = len(json.loads(site.get("/api/strategies?limit=1000&offset=9900")[0]))
        if count != STRATEGIES - 9_900:
            raise RuntimeError(f"the read models hold {9_900 + count} strategies, {STRATEGIES} expected")
        times = await asyncio.to_thread(_get_times, site)
        sid = json.loads(site.get("/api/strategies?limit=1")[0])[0]["id"]
        pages = {p: site.weight(p) for p in ("/", "/workers", "/campaigns", "/campaigns/new", "/strategies")}
        curves = [f"{base}/{sid}/curves?range=walk_forward" for base in ("/strategies", "/api/strategies")]
        charts = site.weight(f"/strategies/{sid}", *curves)
        waits = await _event_times(bus, spec, site)
    finally:
        await bus.close()
    waits.sort()
    return [
        result("GET / median, ms", statistics.median(times), "get_overview_median_ms"),
        *(result(f"weight of {p}, bytes", size, "page_bytes") for p, size in pages.items()),
        result("weight of a strategy with charts, bytes", charts, "page_with_charts_bytes"),
        result("event to page p95, ms", waits[int(len(waits) * 0.95)], "event_to_page_p95_ms"),
    ]


def run() -> list[Result]:
    """Half a minute: an instance of its own in a temporary folder, gone afterwards."""
    with instance() as (state, site):
        return asyncio.run(_measure(state, site))
