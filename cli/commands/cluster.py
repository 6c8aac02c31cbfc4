"""`sluice cluster config | serve | grow | status`: three nodes under one instance."""

import argparse
import asyncio
import os
from pathlib import Path
from typing import Any

from bus.accounts import load_accounts, read_credentials
from bus.client import Bus
from bus.cluster import NODES, SERVE, SET_UP, new_plan, parse_node, read_plan, write_node, write_plan
from bus.foreign import look
from bus.run_file import take_lock
from bus.server import find_server, server_version
from bus.settings import StateDir
from bus.streams import stream_specs
from bus.transfer import all_current, replicas_of
from bus.urls import server_urls
from cli import common
from cli.grow import Grow
from cli.owned import end_leftovers
from domain.errors import BadInput, SluiceError, Unreachable

LOOKS, LOOK_EVERY_S = 10, 0.2


def add(sub: argparse._SubParsersAction) -> None:  # type: ignore[type-arg]
    p = sub.add_parser("cluster", help="the log on three nodes")
    commands = p.add_subparsers(dest="cluster_command", required=True, metavar="COMMAND")
    p = commands.add_parser(
        "config", parents=[common.options()], help="write a whole server configuration for each node"
    )
    p.add_argument("--node", action="append", default=[], metavar="NAME=HOST:CLIENT_PORT:ROUTE_PORT",
                   help="three times; HOST: by which the others reach it (left out: those of before)")  # fmt: skip
    p.add_argument(
        "--out", type=Path, metavar="DIR", help="a folder for each node is made in it (as before, else ./cluster)"
    )
    p.set_defaults(run=config)
    p = commands.add_parser("serve", parents=[common.options()], help="run a node on this machine, in the foreground")
    p.add_argument("folder", type=Path, metavar="FOLDER", help="the node's folder that `cluster config` wrote")
    p.add_argument("--setup", action="store_true", help="for `cluster grow`: only the set-up user is let in")
    p.set_defaults(run=serve)
    p = commands.add_parser(
        "grow", parents=[common.options()], help="move the log from the single server to three nodes"
    )
    p.set_defaults(run=grow)
    p = commands.add_parser(
        "status", parents=[common.options()], help="nodes, leaders and copies; 1 when not all are current"
    )
    p.set_defaults(run=status)


def config(args: common.Args) -> int:
    """The accounts are those of this state: after `creds add` or `revoke` it is run again."""
    state = StateDir(args.state)
    state.create()
    before = read_plan(state)
    nodes = tuple(parse_node(n) for n in args.node) or (before.nodes if before else ())
    out = (args.out or (Path(before.out) if before else Path("cluster"))).absolute()
    plan = new_plan(nodes, before, out)
    accounts = load_accounts(state.root / "accounts.json", [state.settings().host_name()])
    for node in plan.nodes:
        write_node(out / node.name, plan, node, accounts)
    write_plan(state, plan)
    if args.json:
        files = {n.name: str(out / n.name) for n in plan.nodes}
        common.print_json({"url": plan.url, "grown": bool(plan.grown), "folders": files})
        return 0
    print(f"wrote {out}: a folder for each of {', '.join(n.name for n in plan.nodes)}; they hold passwords")
    print("carry each to its machine, and there:")
    if plan.grown:
        print("  a running server reads its new configuration on SIGHUP; otherwise: sluice cluster serve FOLDER")
    else:
        print("  sluice cluster serve FOLDER --setup")
        print("then stop this instance and run here: sluice cluster grow")
    return 0


def serve(args: common.Args) -> int:
    """Becomes nats-server: whoever supervises this process supervises the server."""
    name = SET_UP if args.setup else SERVE
    if not (args.folder / name).is_file():
        raise BadInput(f"there is no {name} in {args.folder}; `sluice cluster config` writes it")
    binary = os.path.abspath(find_server())
    version = server_version(binary)
    print(f"nats-server {version}, {name} in {args.folder}; Ctrl-C stops it", flush=True)
    os.chdir(args.folder)
    os.execv(binary, [binary, "-c", name])


async def grow(args: common.Args) -> int:
    state = StateDir(args.state)
    plan = read_plan(state)
    if plan is None:
        raise BadInput("no nodes are planned for this instance; begin with `sluice cluster config`")
    state.create()
    lock = take_lock(state)
    try:
        for name in await end_leftovers(state, state.settings().stop_s):
            print(f"ended {name}, left over from a run that was cut off")
        moved = await Grow(state, plan, lambda text: None if args.json else print(text, flush=True)).run()
    finally:
        lock.close()
    todo = [f"sluice cluster serve {plan.folder(n)}" for n in plan.nodes]
    if args.json:
        common.print_json({"url": plan.url, "streams": [m._asdict() for m in moved], "next": [*todo, "sluice up"]})
    elif moved:
        print(f"the log lives on {', '.join(n.name for n in plan.nodes)} from now on")
        if any(state.nats_store.iterdir()):
            print(f"the single server's own copy stays in {state.nats_store} as it is, until you delete it")
        print("now stop the three servers, and start each without --setup:")
        print("".join(f"  {line}\n" for line in todo) + "then here: sluice up, and sluice cluster status")
    return 0


async def status(args: common.Args) -> int:
    state = StateDir(args.state)
    creds = read_credentials(state.creds / "admin.json")
    urls = server_urls(creds.url)
    nodes = [_node(u, n) for u, n in zip(urls, await asyncio.gather(*(look(u) for u in urls)), strict=True)]
    answering = [n["name"] or n["url"] for n in nodes if n["reachable"]]
    try:
        bus = await Bus.connect(creds, "cluster status", timeout_s=10.0, patience_s=20.0)
    except Unreachable as e:
        hint = f" ({', '.join(answering)} answer: in their set-up configuration?)" if answering else ""
        raise Unreachable(f"{e}{hint}") from e
    try:
        if not bus.clustered:
            raise SluiceError("this instance's log lies on a single server; `sluice cluster config` begins with three")
        streams = await _streams(bus)
    except Unreachable as e:
        raise Unreachable(f"{e}; of {len(urls)} nodes answer: {', '.join(answering)}; at least two must run") from e
    finally:
        await bus.close()
    ok = all(s["ok"] for s in streams) and len(answering) == len(urls)
    if args.json:
        common.print_json({"ok": ok, "nodes": nodes, "streams": streams})
    else:
        _show(nodes, streams)
        print("all copies are current" if ok else "NOT all copies are current: what is away or behind is not safe yet")
    return 0 if ok else 1


async def _streams(bus: Bus) -> list[dict[str, Any]]:
    """All streams; one that is written to may be behind at the moment of a look, so some looks decide."""
    names = [s.config.name or "" for s in stream_specs()]
    found: dict[str, dict[str, Any]] = {}
    for _ in range(LOOKS):
        late = [n for n in names if n not in found or not found[n]["ok"]]
        if found:
            await asyncio.sleep(LOOK_EVERY_S)
        found |= {n: _stream(n, await bus.stream_info(n)) for n in late}
        if all(s["ok"] for s in found.values()):
            break
    return [found[n] for n in names]


def _node(url: str, node: Any) -> dict[str, Any]:
    there = node is not None
    return {
        "url": url,
        "name": node.name if there else "",
        "reachable": there,
        "version": node.version if there else "",
    }


def _stream(name: str, info: dict[str, Any] | None) -> dict[str, Any]:
    if info is None:
        return {"name": name, "leader": "", "replicas": [], "messages": 0, "last_seq": 0, "ok": False}
    found = replicas_of(info)
    return {
        "name": name,
        "leader": next((r.node for r in found if r.leader), ""),
        "replicas": [{"node": r.node, "current": r.current, "lag": r.lag} for r in found],
        "messages": info["state"]["messages"],
        "last_seq": info["state"]["last_seq"],
        "ok": all_current(info, NODES),
    }


def _show(nodes: list[dict[str, Any]], streams: list[dict[str, Any]]) -> None:
    rows = [
        [n["name"] or "–", n["url"], "answers" if n["reachable"] else "DOES NOT ANSWER", n["version"]] for n in nodes
    ]
    common.print_table("Nodes", ("name", "url", "state", "version"), rows, "")
    rows = []
    for s in streams:
        late = [f"{r['node']} behind by {r['lag']:,}" for r in s["replicas"] if not r["current"] or r["lag"]]
        copies = f"{sum(r['current'] for r in s['replicas'])} of {NODES}"
        rows.append([s["name"], s["leader"] or "none", copies, s["messages"], s["last_seq"], ", ".join(late) or "–"])
    common.print_table("Streams", ("name", "leader", "current", "messages", "last_seq", "behind"), rows, "")
