"""`sluice creds add HOST`: let the miners of another machine in; `creds nats`: what the `nats` command needs."""

import argparse
import shutil
import signal
from pathlib import Path

from bus.accounts import accounts_conf, load_accounts, read_credentials, write_credentials, write_private
from bus.nats_cli import write_context
from bus.processes import send_signal
from bus.run_file import RunFile, read_run_file
from bus.settings import StateDir
from bus.subjects import host_token, token
from cli import common
from domain.errors import BadInput, Unreachable


def add(sub: argparse._SubParsersAction) -> None:  # type: ignore[type-arg]
    p = sub.add_parser("creds", help="who may use this instance's bus")
    commands = p.add_subparsers(dest="creds_command", required=True, metavar="COMMAND")
    p = commands.add_parser("add", parents=[common.options()], help="credentials for the miners of another machine")
    p.add_argument("host", metavar="HOST", help="the name under which that machine shows up")
    p.add_argument("--out", type=Path, metavar="FILE", help="write a copy there (0600)")
    p.set_defaults(run=add_host)
    p = commands.add_parser(
        "nats", parents=[common.options()], help="a context for the `nats` command; prints its file"
    )
    p.add_argument("role", nargs="?", default="admin", metavar="ROLE", help="whose rights (default: admin)")
    p.set_defaults(run=nats)


def add_host(args: common.Args) -> int:
    """Known to the running server at once, and to every later one."""
    state = StateDir(args.state)
    if not (state.root / "accounts.json").exists():
        raise Unreachable(f"there is no instance in {state.root} yet; start it once with `sluice up`")
    host = token(args.host)
    if host != host_token(args.host):
        raise BadInput(f"{args.host!r} is too long for the name of a machine")
    accounts = load_accounts(state.root / "accounts.json", [state.settings().host_name(), host])
    run = read_run_file(state)
    url = run.nats_url if run and run.running() and run.nats_url else _last_url(state)
    write_credentials(state.creds, accounts, url)
    live = run is not None and _reload(state, run, accounts_conf(accounts, setup=False))
    path = state.creds / f"miner-{host}.json"
    if args.out:
        shutil.copyfile(path, _private(args.out))
        path = args.out
    if args.json:
        common.print_json({"host": host, "file": str(path), "active": live})
        return 0
    print(
        f"wrote {path}: carry it to {host} and keep it secret; there: sluice join nats://THIS-MACHINE:PORT --creds FILE"
    )
    if state.settings().nats_listen == "127.0.0.1":
        print('other machines reach this server only with nats_listen = "0.0.0.0" (or an address) in sluice.toml')
    return 0


def nats(args: common.Args) -> int:
    """`export NATS_CONTEXT="$(sluice creds nats)"`: the path alone, so that a shell can take it."""
    state = StateDir(args.state)
    path = write_context(state.creds / "nats", read_credentials(state.creds / f"{token(args.role)}.json"))
    if args.json:
        common.print_json({"role": args.role, "context": str(path)})
    else:
        print(path)
    return 0


def _private(path: Path) -> Path:
    write_private(path, b"")
    return path


def _last_url(state: StateDir) -> str:
    path = state.creds / "admin.json"
    return read_credentials(path).url if path.exists() else ""


def _reload(state: StateDir, run: RunFile, block: str) -> bool:
    """Give the running server its accounts anew, and nothing else: who is connected stays. False when none of ours runs."""
    server = run.process("nats-server")
    if server is None or not server.running() or not hasattr(signal, "SIGHUP"):
        return False
    head, mark, _ = state.server_conf.read_text().partition("accounts: ")
    if not mark:
        raise Unreachable(f"{state.server_conf} has no accounts; restart with `sluice up`")
    write_private(state.server_conf, (head + block).encode())
    return send_signal(server, signal.SIGHUP)
