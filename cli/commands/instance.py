"""`sluice up | join | down | status | workers | doctor`: the instance as a whole."""

import argparse
import os
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import psutil

from bus.lag import Lag, read_lag
from bus.presence import read_presence
from bus.processes import send_signal
from bus.run_file import read_run_file, require_running
from bus.server import find_server, server_version
from bus.settings import StateDir
from cli import common
from domain.errors import SluiceError, Unreachable
from projections import queries, ranking
from projections.live import agent_rows, halted, worker_rows


def add(sub: argparse._SubParsersAction) -> None:  # type: ignore[type-arg]
    p = sub.add_parser("up", parents=[common.options()], help="start everything and stay; Ctrl-C stops it")
    p.add_argument("--nats-port", type=common.PORT, metavar="N", help="port of our own server (0 = any free one)")
    p.add_argument("--nats", type=common.nats, metavar="URLS", help="use servers that run already: nats://A,nats://B,…")
    p.add_argument("--miners", type=common.MINERS, metavar="N", help="miners on this machine (default: one a core)")
    p.add_argument("--http", type=common.http, metavar="HOST:PORT", help="address of the pages (port 0 = any free one)")
    p.add_argument("--empty", action="store_true", help="register no dataset and open no starter campaign")
    p.set_defaults(run=up)
    p = sub.add_parser("join", parents=[common.options()], help="mine on this machine for an instance elsewhere")
    p.add_argument(
        "url", type=common.nats, metavar="URLS", help="nats:// or tls://HOST:PORT of the instance, or of all its nodes"
    )
    p.add_argument("--miners", type=common.MINERS, metavar="N", help="miners on this machine (default: one a core)")
    p.add_argument("--creds", type=Path, metavar="FILE", help="made there by `sluice creds add miner NAME`")
    p.set_defaults(run=join)
    for name, function, text in (
        ("down", down, "stop the instance and wait until it is gone"),
        ("status", status, "agents, units and the best find"),
        ("workers", workers, "miners: what they did and whether they live"),
        ("doctor", doctor, "check what an instance needs on this machine"),
    ):
        p = sub.add_parser(name, parents=[common.options()], help=text)
        p.set_defaults(run=function)
        if name == "status":
            p.add_argument("--lag", action="store_true", help="also how far each reader of each stream is behind")


async def up(args: common.Args) -> int:
    from cli.up import run_instance

    return await run_instance(args)


async def join(args: common.Args) -> int:
    from cli.up import run_joined

    return await run_joined(args)


def down(args: common.Args) -> int:
    """SIGTERM to the process that `sluice up` is, known by id and start time; it stops its children."""
    state = StateDir(args.state)
    run = require_running(state)
    owner = run.supervisor if run.supervisor.running() else run.watchdog
    send_signal(owner, signal.SIGTERM)
    deadline = time.monotonic() + (args.timeout or 15.0)
    while owner.running():
        if time.monotonic() > deadline:
            raise Unreachable(f"process {owner.pid} has not stopped yet; look again with `sluice status`")
        time.sleep(0.05)
    if args.json:
        common.print_json({"stopped": owner.pid})
    else:
        print("stopped; nothing is lost, `sluice up` goes on from here")
    return 0


async def status(args: common.Args) -> int:
    state = StateDir(args.state)
    run = require_running(state)
    async with common.admin(args) as bus:
        presences = await read_presence(bus)
        last_seq = await bus.last_seq("EVENTS")
        lag = await read_lag(bus) if args.lag else None
    units, best, recorded = dict.fromkeys(queries.UNIT_STATES, 0), None, []
    if state.views.exists():
        with common.views(args) as con:
            units, best, recorded = queries.unit_counts(con), ranking.best(con), queries.agents(con)
    found: dict[str, Any] = {
        "nats": {"url": run.nats_url, "version": run.nats_version},
        "agents": agent_rows(presences, recorded),
        "units": units,
        "best": best,
        "last_seq": last_seq,
    }
    if args.json:
        common.print_json(found | ({} if lag is None else {"lag": lag}))
        return 0
    print(f"nats-server {run.nats_version} at {run.nats_url}, {last_seq:,} events")
    columns = ("id", "kind", "host", "state", "last_seen_s", "done", "restarts", "detail")
    common.print_table(
        "Agents", columns, [[a[c] for c in columns] for a in found["agents"]], "No agent has shown up yet."
    )
    for a in halted(presences):
        print(f"{a['id']} {a['detail']}")
    print("Units  " + "  ".join(f"{name} {count:,}" for name, count in units.items()))
    print(best_line(best))
    if lag is not None:
        rows = [list(msgspec.structs.astuple(c)) for c in lag]
        common.print_table("Readers of streams", Lag.__struct_fields__, rows, "Nobody reads any stream now.")
    return 0


def best_line(best: dict[str, Any] | None) -> str:
    """The best find with its out-of-sample twin and its benchmark, marked when nobody confirmed it."""
    if best is None:
        return "Best   nothing found yet"
    mark = "validated" if best["validated"] else "NOT validated"
    return (
        f"Best   {best['strategy'][:12]} ({mark}): "
        f"fitness {common.percent(best['fitness_return'])} (buy & hold {common.percent(best['benchmark_fitness_return'])}), "
        f"walk-forward {common.percent(best['walk_forward_return'])} (buy & hold {common.percent(best['benchmark_return'])})"
    )


async def workers(args: common.Args) -> int:
    """Work done comes from the log, liveness from the heartbeats: a miner without one is not counted as alive."""
    async with common.admin(args) as bus:
        presences = await read_presence(bus)
    with common.views(args) as con:
        found = worker_rows(queries.workers(con), presences, queries.agents(con, "miner"))
    if args.json:
        common.print_json(found)
        return 0
    columns = ("host", "slot", "state", "last_seen_s", "answered", "seconds", "evaluated")
    common.print_table("Workers", columns, [[r[c] for c in columns] for r in found], "No miner has shown up yet.")
    return 0


def _checks(state: StateDir) -> list[tuple[str, bool, str]]:
    """(what, is it well, what was found or what to do)."""
    out: list[tuple[str, bool, str]] = []

    def check(name: str, probe: Any) -> None:
        try:
            out.append((name, True, str(probe())))
        except (SluiceError, OSError, ImportError) as e:
            out.append((name, False, str(e)))

    def kernel() -> str:
        from kernels.golden import check_golden
        from kernels.version import lane

        check_golden()
        return f"golden vectors agree, kernel version {lane()}"

    def state_dir() -> str:
        state.create()
        return f"{state.root} can be written, {shutil.disk_usage(state.root).free / 1e9:.1f} GB free"

    def settings() -> str:
        state.settings()
        return f"{state.config} is read" if state.config.exists() else f"no {state.config.name}: the defaults hold"

    def running() -> str:
        run = read_run_file(state)
        return f"runs as process {run.supervisor.pid}" if run and run.running() else "not running"

    check("python", lambda: sys.version.split()[0])
    check("nats-server", lambda: f"{server_version(find_server())} at {find_server()}")
    check("state", state_dir)
    check("settings", settings)
    check("memory", lambda: f"{psutil.virtual_memory().available / 1e9:.1f} GB available, {os.cpu_count()} cores")
    check("kernel", kernel)
    check("instance", running)
    return out


def doctor(args: common.Args) -> int:
    checks = _checks(StateDir(args.state))
    ok = all(well for _, well, _ in checks)
    if args.json:
        common.print_json({"ok": ok, "checks": [{"name": n, "ok": w, "detail": d} for n, w, d in checks]})
    else:
        for name, well, detail in checks:
            print(f"{'ok  ' if well else 'FAIL'}  {name:<12} {detail}")
    return 0 if ok else 1
