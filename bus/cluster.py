"""Three nodes for one instance: the plan that is kept with the state, and a complete server configuration for each node.

The accounts are those of the instance, so that agents come in with the credentials they have. Each node has two
configurations: one to serve, and one in which only the set-up user exists, because nobody at run time may make or change streams.
"""

import json
import secrets
from collections.abc import Mapping
from pathlib import Path

import msgspec

from bus.accounts import Accounts, accounts_conf, write_private
from bus.server import GIB, SERVER_LIMITS
from bus.settings import StateDir
from bus.subjects import token
from bus.urls import address
from domain.errors import BadInput, Unreachable

NODES = 3
ROUTE_USER = "route"
SERVE, SET_UP = "server.conf", "setup.conf"
#: Relative to where the server is started: the folder is carried to the node's machine as it is.
STORE = "jetstream"


class Node(msgspec.Struct, frozen=True):
    """`host`: the address of its machine by which clients and the other nodes reach it."""

    name: str
    host: str
    client_port: int
    route_port: int

    @property
    def url(self) -> str:
        return f"nats://{address(self.host, self.client_port)}"


class Plan(msgspec.Struct, frozen=True):
    """`DIR/cluster.json` (0600). `grown`: when the log of this instance was moved there; "" before that."""

    nodes: tuple[Node, ...]
    route_secret: str
    out: str = ""
    grown: str = ""

    @property
    def url(self) -> str:
        return ",".join(n.url for n in self.nodes)

    def folder(self, node: Node) -> str:
        """The folder of its configurations, as people name it in a command."""
        return f"{Path(self.out).name}/{node.name}"


def parse_node(text: str) -> Node:
    """`NAME=HOST:CLIENT_PORT:ROUTE_PORT`, an IPv6 address in brackets; BadInput says what is wrong."""
    name, equals, where = text.partition("=")
    parts = where.rsplit(":", 2)
    if not (equals and len(parts) == 3 and all(p.isascii() and p.isdigit() for p in parts[1:])):
        raise BadInput(f"{text!r} is not NAME=HOST:CLIENT_PORT:ROUTE_PORT, such as a=10.0.0.1:4222:6222")
    host = parts[0].strip("[]")
    ports = int(parts[1]), int(parts[2])
    if not host or any(c.isspace() or c in '/"' for c in host) or not all(0 < p < 65_536 for p in ports):
        raise BadInput(f"{text!r}: a host and two ports from 1 to 65535 are needed")
    return Node(token(name), host, *ports)


def check_nodes(nodes: tuple[Node, ...]) -> None:
    """BadInput unless they are three, with names and addresses of their own."""
    if len(nodes) != NODES:
        raise BadInput(f"a cluster has {NODES} nodes, {len(nodes)} were named; nothing was written")
    if len({n.name for n in nodes}) != len(nodes):
        raise BadInput("two nodes have the same name; nothing was written")
    taken = [(n.host, p) for n in nodes for p in (n.client_port, n.route_port)]
    if len(set(taken)) != len(taken):
        raise BadInput("two ports of one host are the same; nothing was written")


def read_plan(state: StateDir) -> Plan | None:
    try:
        return msgspec.json.decode(state.cluster.read_bytes(), type=Plan)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError) as e:
        raise Unreachable(f"the plan of the cluster in {state.cluster} cannot be read: {e}") from e


def write_plan(state: StateDir, plan: Plan) -> None:
    write_private(state.cluster, msgspec.json.format(msgspec.json.encode(plan)))


def new_plan(nodes: tuple[Node, ...], before: Plan | None, out: Path) -> Plan:
    """BadInput for nodes that are none; a plan that replaces one keeps its secret, and what it knows of the log."""
    check_nodes(nodes)
    if before is not None and before.grown and {n.name for n in nodes} != {n.name for n in before.nodes}:
        raise BadInput("the log of this instance lives on the nodes that were named before; they keep their names")
    secret = before.route_secret if before is not None else secrets.token_urlsafe(24)
    return Plan(nodes, secret, str(out), before.grown if before is not None else "")


def grown_url(state: StateDir) -> str:
    """Where the log of this instance lives since it has grown; "" while it is on its own server."""
    plan = read_plan(state)
    return plan.url if plan is not None and plan.grown else ""


def node_conf(plan: Plan, node: Node, accounts: Accounts, *, setup: bool, via: Mapping[str, str] | None = None) -> str:
    """The text of a configuration. `via`: node -> HOST:PORT through which this one reaches its route port instead."""
    routes = []
    for other in plan.nodes:
        # All three, this one too: the server takes the number of routes for the size of the cluster.
        there = (via or {}).get(other.name) or address(other.host, other.route_port)
        routes.append(f"nats-route://{ROUTE_USER}:{plan.route_secret}@{there}")
    cluster: dict[str, object] = {
        "name": "sluice",
        "listen": address(node.host, node.route_port),
        "authorization": {"user": ROUTE_USER, "password": plan.route_secret, "timeout": 5},
        "routes": routes,
        # A node that stands still or is cut off keeps its connections: the others must not count on it for minutes.
        "ping_interval": "5s",
        "ping_max": 2,
    }
    if via:
        # Routes that are told on would go around: to where nobody listens.
        cluster["cluster_advertise"] = "127.0.0.1:1"
    head: dict[str, object] = {
        "server_name": node.name,
        "listen": address(node.host, node.client_port),
        **SERVER_LIMITS,
        "jetstream": {"store_dir": STORE, "sync_interval": "always", "max_memory_store": GIB // 4},
        "cluster": cluster,
    }
    what = "To make and change streams while no agent runs" if setup else "To serve"
    text = f"# {what}. Written by `sluice cluster config`; holds passwords.\n"
    text += "".join(f"{k}: {json.dumps(v)}\n" for k, v in head.items())
    return text + accounts_conf(accounts, setup=setup)


def write_node(folder: Path, plan: Plan, node: Node, accounts: Accounts, via: Mapping[str, str] | None = None) -> None:
    """Both configurations of a node in a folder of its own, readable by its owner alone."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)
        for name in (SERVE, SET_UP):
            text = node_conf(plan, node, accounts, setup=name == SET_UP, via=via)
            write_private(folder / name, text.encode())
    except OSError as e:
        raise Unreachable(f"{folder} cannot be written ({e.strerror}); choose another folder with --out") from e
