"""`sluice creds add | revoke | list`: who may use this instance's bus; `creds nats`: what the `nats` command needs."""

import argparse
import shutil
from pathlib import Path

from bus.accounts import (
    Accounts,
    load_accounts,
    public_key,
    read_credentials,
    save_accounts,
    write_credentials,
    write_private,
)
from bus.certificates import authority, is_loopback, wanted
from bus.nats_cli import write_context
from bus.reload import reload_accounts
from bus.rights import host_of, miner_user
from bus.run_file import read_run_file
from bus.settings import StateDir
from bus.subjects import host_token, token
from cli import common
from domain.errors import BadInput, SluiceError, Unreachable


def add(sub: argparse._SubParsersAction) -> None:  # type: ignore[type-arg]
    p = sub.add_parser("creds", help="who may use this instance's bus")
    commands = p.add_subparsers(dest="creds_command", required=True, metavar="COMMAND")
    p = commands.add_parser("add", parents=[common.options()], help="credentials for the miners of another machine")
    _who(p)
    p.add_argument("--out", type=Path, metavar="FILE", help="write a copy there (0600)")
    p.set_defaults(run=add_miner)
    p = commands.add_parser("revoke", parents=[common.options()], help="cut a machine off, and let it in no more")
    _who(p)
    p.set_defaults(run=revoke_miner)
    p = commands.add_parser("list", parents=[common.options()], help="roles and machines that are let in")
    p.set_defaults(run=show)
    p = commands.add_parser(
        "nats", parents=[common.options()], help="a context for the `nats` command; prints its file"
    )
    p.add_argument("role", nargs="?", default="admin", metavar="ROLE", help="whose rights (default: admin)")
    p.set_defaults(run=nats)


def _who(p: argparse.ArgumentParser) -> None:
    p.add_argument("kind", choices=["miner"], metavar="miner", help="what it may do: mine")
    p.add_argument("name", metavar="NAME", help="the name under which that machine shows up")


def _instance(args: common.Args) -> StateDir:
    state = StateDir(args.state)
    if not (state.root / "accounts.json").exists():
        raise Unreachable(f"there is no instance in {state.root} yet; start it once with `sluice up`")
    return state


def _host(name: str) -> str:
    host = token(name)
    if host != host_token(name):
        raise BadInput(f"{name!r} is too long for the name of a machine")
    return host


def _accounts(state: StateDir, *hosts: str) -> Accounts:
    return load_accounts(state.root / "accounts.json", [state.settings().host_name(), *hosts])


def add_miner(args: common.Args) -> int:
    """Known to the running server at once, and to every later one."""
    state, host = _instance(args), _host(args.name)
    settings, accounts = state.settings(), _accounts(state, host)
    run = read_run_file(state)
    url = run.nats_url if run and run.running() and run.nats_url else _last_url(state)
    write_credentials(state.creds, accounts, url, ca=authority(state, settings))
    live = _reload(state, accounts)
    path = state.creds / f"{miner_user(host)}.json"
    if args.out:
        shutil.copyfile(path, _private(args.out))
        path = args.out
    if args.json:
        common.print_json({"host": host, "file": str(path), "active": live})
        return 0
    scheme = "tls" if wanted(settings) else "nats"
    print(
        f"wrote {path}: carry it to {host} and keep it secret; there: sluice join {scheme}://THIS-MACHINE:PORT --creds FILE"
    )
    if is_loopback(settings.nats_listen):
        print('other machines reach this server only with nats_listen = "0.0.0.0" (or an address) in sluice.toml')
    elif not wanted(settings):
        print("what they say to each other is not encrypted (tls = false): only inside a network that you trust")
    return 0


def revoke_miner(args: common.Args) -> int:
    """Its user is gone for good; what it did stays in the log. Exit status 1 when it was not let in."""
    state, host = _instance(args), _host(args.name)
    if host == state.settings().host_name():
        raise BadInput(f"{host} is this machine itself; `sluice up --miners 0` keeps it from mining")
    accounts = _accounts(state)
    if accounts.seeds.pop(miner_user(host), None) is None:
        raise SluiceError(f"no machine {host} is let in; `sluice creds list` names those that are")
    save_accounts(state.root / "accounts.json", accounts)
    for ending in ("json", "nk"):
        (state.creds / f"{miner_user(host)}.{ending}").unlink(missing_ok=True)
    live = _reload(state, accounts)
    if args.json:
        common.print_json({"host": host, "active": live})
    else:
        print(f"{host} is {'cut off' if live else 'not let in any more'}; what it did stays in the log")
    return 0


def show(args: common.Args) -> int:
    """Public halves only."""
    state = _instance(args)
    rows = [
        {"user": user, "kind": "miner" if host_of(user) else "role", "host": host_of(user), "key": public_key(seed)}
        for user, seed in _accounts(state).seeds.items()
    ]
    if args.json:
        common.print_json(rows)
    else:
        columns = ("user", "kind", "host", "key")
        common.print_table("Let in", columns, [[r[c] for c in columns] for r in rows], "Nobody is let in.")
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


def _reload(state: StateDir, accounts: Accounts) -> bool:
    """Whether a server of ours runs, and has the users as they are now."""
    run = read_run_file(state)
    server = run.process("nats-server") if run is not None else None
    return (
        run is not None and server is not None and reload_accounts(state.server_conf, server, run.monitor_url, accounts)
    )
