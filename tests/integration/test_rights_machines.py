"""Machines are let in and cut off while the server runs, over TLS; what is not allowed is said so; the store is encrypted."""

import asyncio
import contextlib
import ssl
from pathlib import Path

import msgspec
import pytest

from bus.accounts import load_accounts, new_seed, read_credentials, write_credentials, write_private
from bus.certificates import authority, wanted
from bus.client import Bus
from bus.reload import reload_accounts
from bus.settings import Settings, StateDir
from domain.errors import BadInput, Forbidden, Unreachable
from tests.support.instance import PATIENCE_S, Instance, until

PROBE = b"Zq7Xw9PlmokNvUbRtY2-HgTfDsApQoWiEu"


async def test_what_is_not_allowed_is_said_at_once_and_as_that(instance: Instance) -> None:
    web, admin, miner = [await instance.bus(u) for u in ("web", "admin", "miner-alpha")]
    # Far more patience than a test has: a time-out would not be reported within it.
    with pytest.raises(Forbidden, match=r"^web may not publish on ev\.mining\.unit\.X\.validated; nothing was stored$"):
        await web.publish("ev.mining.unit.X.validated", b"", patience_s=3600)
    with pytest.raises(Forbidden, match=r"miner-alpha may not publish on claim\.u\.0\.beta\.1"):
        await miner.request("claim.u.0.beta.1", b"", timeout_s=3600)
    for name in ("$JS.API.STREAM.PURGE.EVENTS", "sluice.api.STREAM.PURGE.EVENTS"):
        with pytest.raises(Forbidden, match=f"admin has no such service: {name.replace('$', '.')}"):
            await admin.request(name, b"", timeout_s=3600)
    two = [web.publish(f"ev.ops.agent.{n}.started", b"", patience_s=3600) for n in (1, 2)]
    allowed = web.publish("ev.cmd.campaign.x.requested", b"fine")
    *refused, stored = await asyncio.gather(*two, allowed, return_exceptions=True)
    assert [str(e).split()[5] for e in refused] == ["ev.ops.agent.1.started;", "ev.ops.agent.2.started;"]
    assert isinstance(stored, int)


# The client leaves the connections that were refused to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")
async def test_a_machine_is_let_in_and_cut_off_while_the_server_runs(instance: Instance) -> None:
    monitor = f"http://127.0.0.1:{instance.server.monitor_port}"
    assert instance.server.process is not None

    async def take() -> bool:
        proc = instance.server.process.proc  # type: ignore[union-attr]
        return await asyncio.to_thread(reload_accounts, instance.state.server_conf, proc, monitor, instance.accounts)

    admin, beta = await instance.bus("admin"), await instance.bus("miner-beta")
    instance.accounts.seeds["miner-delta"] = new_seed()
    write_credentials(instance.state.creds, instance.accounts, instance.server.url)
    assert await take()
    delta = await instance.bus("miner-delta")
    assert await delta.publish("claim.u.0.delta.1", b"mine") > 0
    assert await beta.publish("claim.v.0.beta.1", b"mine") > 0
    with pytest.raises(Forbidden):
        await delta.publish("result.c.u.0.beta.1", b"forged")
    del instance.accounts.seeds["miner-beta"]
    assert await take()

    async def cut_off() -> bool:
        return not beta.nc.is_connected

    await until("the revoked machine is cut off", cut_off)
    with pytest.raises(Unreachable):
        await beta.publish("claim.w.0.beta.1", b"too late", patience_s=0)
    with pytest.raises(
        Unreachable, match=r"refuses the credentials of miner-beta; they were revoked .* creds add miner beta"
    ):
        await Bus.connect(instance.credentials("miner-beta"), "again", timeout_s=PATIENCE_S)
    assert await admin.last("CLAIM", "claim.w.>") is None
    # Nobody else lost its connection.
    assert (admin.nc.stats["reconnects"], delta.nc.stats["reconnects"]) == (0, 0)


async def test_tls_from_the_first_byte_or_not_at_all(tmp_path: Path) -> None:
    instance = Instance(tmp_path / "state", hosts=("alpha",), tls=True)
    other = Instance(tmp_path / "other", hosts=("alpha",), tls=True)
    try:
        await instance.start()
        assert instance.server.url.startswith("tls://127.0.0.1:")
        good = instance.credentials("miner-alpha")
        miner = await instance.bus("miner-alpha")
        assert await miner.publish("claim.u.0.alpha.1", b"mine") > 0
        assert (instance.state.root / "tls" / "ca-key.pem").stat().st_mode & 0o777 == 0o600
        other.server.write_conf(setup=False)
        strange = msgspec.structs.replace(good, ca=other.server.ca)
        with pytest.raises(Unreachable, match=r"the authority does not vouch for it.*nothing was sent"):
            await Bus.connect(strange, "strange", timeout_s=PATIENCE_S)
        with pytest.raises(Unreachable, match="is not known here: credentials made on its machine"):
            await Bus.connect(msgspec.structs.replace(good, ca=""), "none", timeout_s=PATIENCE_S)
        # In clear: the server says who it is, and ends the connection at the first word.
        reader, writer = await asyncio.open_connection("127.0.0.1", instance.server.port)
        info = await asyncio.wait_for(reader.readline(), PATIENCE_S)
        assert b'"tls_required":true' in info
        writer.write(b'CONNECT {"verbose":false}\r\nPING\r\n')
        rest = b""
        with contextlib.suppress(ConnectionError):
            rest = await asyncio.wait_for(reader.read(), PATIENCE_S)
        assert b"PONG" not in rest
        writer.close()
    finally:
        await instance.close()


async def test_credentials_for_tls_never_speak_in_clear(instance: Instance, tmp_path: Path) -> None:
    """A server that offers no TLS, perhaps somebody in between, hears nothing."""
    state = StateDir(tmp_path / "ca")
    state.create()
    other = Instance(tmp_path / "ca", tls=True)
    other.server.write_conf(setup=False)
    creds = msgspec.structs.replace(instance.credentials("admin"), ca=other.server.ca)
    with pytest.raises(Unreachable, match="does not speak TLS as these credentials demand"):
        await Bus.connect(creds, "in clear", timeout_s=3.0)


def test_a_server_that_others_reach_demands_tls_unless_told_otherwise(tmp_path: Path) -> None:
    assert not wanted(Settings())
    assert not wanted(Settings(nats_listen="::1"))
    assert wanted(Settings(nats_listen="0.0.0.0"))
    assert not wanted(Settings(nats_listen="0.0.0.0", tls=False))
    state = StateDir(tmp_path)
    state.create()
    (tmp_path / "sluice.toml").write_text('tls_cert = "a.pem"\n')
    with pytest.raises(BadInput, match="tls_cert, tls_key and tls_ca belong together"):
        state.settings()
    assert authority(state, Settings()) == ""


def test_the_certificate_follows_the_names_and_the_authority_stays(tmp_path: Path) -> None:
    from bus.certificates import server_block

    state = StateDir(tmp_path)
    state.create()
    first = server_block(state, Settings(tls=True))
    ca, cert = authority(state, Settings(tls=True)), Path(first["cert_file"]).read_bytes()
    server_block(state, Settings(tls=True))
    assert Path(first["cert_file"]).read_bytes() == cert
    server_block(state, Settings(tls=True, tls_names=("mine.example",)))
    assert Path(first["cert_file"]).read_bytes() != cert
    assert authority(state, Settings(tls=True)) == ca
    context = ssl.create_default_context(cadata=ca)
    assert len(context.get_ca_certs()) == 1


def test_users_with_passwords_get_keys(tmp_path: Path) -> None:
    path = tmp_path / "accounts.json"
    write_private(path, b'{"passwords": {"admin": "x", "miner-beta": "y"}, "setup": "z"}')
    accounts = load_accounts(path, ["alpha"])
    assert {"admin", "miner-alpha", "miner-beta"} <= set(accounts.seeds)
    assert load_accounts(path, ["alpha"]) == accounts
    assert b"passwords" not in path.read_bytes()
    old = tmp_path / "miner-beta.json"
    old.write_bytes(b'{"url": "nats://127.0.0.1:1", "role": "miner-beta", "user": "miner-beta", "password": "y"}')
    with pytest.raises(Unreachable, match="hold no key"):
        read_credentials(old)


def stored_bytes(state: StateDir) -> list[bytes]:
    return [f.read_bytes() for f in state.nats_store.rglob("*") if f.is_file()]


async def test_the_store_is_encrypted_when_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In clear at first, then encrypted in place; a key that is missing or another one stops the start and loses nothing."""
    root = tmp_path / "state"
    instance = Instance(root)
    try:
        await instance.start()
        admin = await instance.bus("admin")
        for n in range(40):
            await admin.publish(f"ev.data.dataset.{n}.imported", PROBE + b" %d" % n)
        await admin.close()
        await instance.server.stop()
        assert any(PROBE in b for b in stored_bytes(instance.state)), "so that the search below can fail"
        encrypted = Instance(root, encrypt_store=True)
        instance.server = encrypted.server
        instance.settings = encrypted.settings
        await instance.serve()
        admin = await instance.bus("admin")
        assert await admin.publish("ev.data.dataset.new.imported", PROBE) == 41
        assert (await admin.get("EVENTS", 1)).data == PROBE + b" 0"  # type: ignore[union-attr]
        await admin.close()
        await instance.server.stop()
        assert not any(PROBE in b for b in stored_bytes(instance.state))
        key = (root / "store.key").read_text().strip()
        assert (root / "store.key").stat().st_mode & 0o777 == 0o600
        for said in (instance.state.server_conf, instance.state.logs / "nats-server.log"):
            assert key not in said.read_text()
        (root / "store.key").rename(root / "away")
        with pytest.raises(Unreachable, match=r"its key is missing; .* nothing is lost"):
            await instance.server.start()
        monkeypatch.setenv("SLUICE_STORE_KEY", "another one")
        with pytest.raises(Unreachable, match=r"not the key that the log was encrypted with.* nothing is lost"):
            await instance.server.start()
        with pytest.raises(Unreachable, match="set encrypt_store = true"):
            await Instance(root).server.start()
        monkeypatch.setenv("SLUICE_STORE_KEY", key)
        Instance(root, encrypt_store=True)
        await instance.serve()
        admin = await instance.bus("admin")
        assert (await admin.stream_state("EVENTS"))[:2] == (41, 41)
    finally:
        await instance.close()
