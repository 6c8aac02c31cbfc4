"""Addresses of several servers, the configurations of three nodes, and what the answers of a cluster mean."""

import subprocess
from pathlib import Path

import pytest

from bus.accounts import load_accounts, public_key
from bus.answers import ApiError, Refused, SubjectTaken, for_now, raise_for
from bus.cluster import Node, check_nodes, grown_url, new_plan, parse_node, read_plan, write_node, write_plan
from bus.rights import is_served
from bus.server import find_server
from bus.settings import StateDir
from bus.streams import in_memory, stream_specs
from bus.transfer import Replica, all_current, replicas_of
from bus.urls import server_urls
from domain.errors import BadInput, Conflict, SluiceError, Unreachable

NODES = (Node("a", "127.0.0.1", 4222, 6222), Node("b", "127.0.0.1", 4223, 6223), Node("c", "::1", 4222, 6222))


def test_servers_are_named_as_people_write_them() -> None:
    assert server_urls("nats://a:4222,b, c:4333,[::1]:5") == [
        "nats://a:4222", "nats://b:4222", "nats://c:4333", "nats://[::1]:5",
    ]  # fmt: skip
    assert server_urls("tls://a") == ["tls://a:4222"]


@pytest.mark.parametrize(
    "wrong", ["", "nats://a,,b", "http://a:4222", "nats://a:x", "nats://a:99999", "nats://", "a/b"]
)
def test_what_is_no_server_is_refused(wrong: str) -> None:
    with pytest.raises(BadInput):
        server_urls(wrong)


def test_a_node_is_read_and_refused() -> None:
    assert parse_node("a=10.0.0.1:4222:6222") == Node("a", "10.0.0.1", 4222, 6222)
    assert parse_node("c=[::1]:1:2").url == "nats://[::1]:1"
    for wrong in ("a", "a=h:1", "a=h:1:x", "a.b=h:1:2", "a=:1:2", "a=h:0:2", "a=h:1:65536", 'a=h"x:1:2'):
        with pytest.raises(BadInput):
            parse_node(wrong)
    check_nodes(NODES)
    for nodes in (NODES[:2], (NODES[0], NODES[0], NODES[1]), (*NODES[:2], Node("c", "127.0.0.1", 6222, 1))):
        with pytest.raises(BadInput):
            check_nodes(nodes)


def test_configurations_are_private_complete_and_taken_by_the_server(tmp_path: Path) -> None:
    plan = new_plan(NODES, None, tmp_path)
    accounts = load_accounts(tmp_path / "accounts.json", ["alpha"])
    write_node(tmp_path / "a", plan, NODES[0], accounts)
    for name in ("server.conf", "setup.conf"):
        path = tmp_path / "a" / name
        assert path.stat().st_mode & 0o777 == 0o600
        done = subprocess.run(
            [find_server(), "-t", "-c", name], cwd=path.parent, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        text = path.read_text()
        assert '"sync_interval": "always"' in text
        assert text.count("nats-route://route:") == 3
    serving, setting_up = ((tmp_path / "a" / n).read_text() for n in ("server.conf", "setup.conf"))
    assert public_key(accounts.setup) in setting_up
    assert public_key(accounts.setup) not in serving
    assert all(public_key(seed) in serving for seed in accounts.seeds.values())
    assert not [s for s in (*accounts.seeds.values(), accounts.setup) if s in setting_up or s in serving]


def test_the_plan_is_kept_with_its_secret_and_says_where_the_log_lives(tmp_path: Path) -> None:
    state = StateDir(tmp_path)
    assert read_plan(state) is None
    assert grown_url(state) == ""
    plan = new_plan(NODES, None, tmp_path)
    write_plan(state, plan)
    assert state.cluster.stat().st_mode & 0o777 == 0o600
    assert read_plan(state) == plan
    assert grown_url(state) == "", "planned is not grown"
    moved = tuple(Node(n.name, "10.0.0.9", n.client_port + i * 10, n.route_port + i * 10) for i, n in enumerate(NODES))
    assert new_plan(moved, plan, tmp_path).route_secret == plan.route_secret
    grown = new_plan(NODES, plan, tmp_path)
    write_plan(state, type(plan)(grown.nodes, grown.route_secret, grown.out, "2026-01-01T00:00:00Z"))
    assert grown_url(state) == "nats://127.0.0.1:4222,nats://127.0.0.1:4223,nats://[::1]:4222"
    with pytest.raises(BadInput, match="keep their names"):
        new_plan((Node("x", "h", 1, 2), *NODES[1:]), read_plan(state), tmp_path)
    state.cluster.write_text("{")
    with pytest.raises(Unreachable):
        grown_url(state)


@pytest.mark.parametrize(
    ("code", "err_code", "description", "kind"),
    [
        (400, 10071, "wrong last sequence: 7", Conflict),
        (400, 10164, "wrong last sequence", Conflict),
        (409, 10158, "duplicate message id is in process", Unreachable),
        (503, 0, "raft: not leader", Unreachable),
        (503, 10008, "JetStream system temporarily unavailable", Unreachable),
        (503, 10077, "maximum messages per subject exceeded", SubjectTaken),
        (400, 10052, "no", Refused),
    ],
)
def test_what_an_answer_means(code: int, err_code: int, description: str, kind: type[SluiceError]) -> None:
    error = ApiError(code, err_code, description)
    with pytest.raises(kind) as raised:
        raise_for(error, "ev.x")
    if isinstance(raised.value, Conflict):
        assert raised.value.actual == (7 if err_code == 10071 else None)
    assert for_now(error) == (kind is Unreachable)


def test_copies_are_current_only_when_all_of_them_are() -> None:
    def info(**late: object) -> dict[str, object]:
        second = {"name": "c", "current": True, "active": 1} | late
        return {"cluster": {"leader": "b", "replicas": [{"name": "a", "current": True}, second]}}

    assert replicas_of(info()) == [
        Replica("a", False, True, 0), Replica("b", True, True, 0), Replica("c", False, True, 0),
    ]  # fmt: skip
    assert all_current(info(), 3)
    for late in ({"current": False}, {"offline": True}, {"lag": 3}):
        assert not all_current(info(**late), 3)
    assert not all_current({"cluster": {"leader": "", "replicas": []}}, 3)
    assert not all_current({}, 3)


def test_on_three_nodes_everything_has_three_copies_on_disk() -> None:
    specs = stream_specs(replicas=3)
    assert {s.config.num_replicas for s in specs} == {3}
    assert {s.config.storage.value for s in specs if s.config.storage} == {"file"}
    assert [s.config.name for s in specs if in_memory(s)] == ["KV_PRESENCE", "KV_LEASE"]


def test_the_set_up_user_is_never_told_that_it_lacks_a_service() -> None:
    """A server that has not come up yet answers "no responders" too: that is a reason to ask again, not a matter of rights."""
    assert is_served("setup", "$JS.API.STREAM.RESTORE.EVENTS")
    assert is_served("web", "sluice.api.STREAM.INFO.EVENTS")
    assert not is_served("web", "sluice.api.STREAM.RESTORE.EVENTS")
