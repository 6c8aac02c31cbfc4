"""docs/inspect.md: every command on the page, run with the real `nats` command and the real `sluice` against an instance.

Where Go is present the `nats` command is built, and a failure to build it is a failure; elsewhere the test is skipped.
"""

import asyncio
import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from bus.accounts import read_credentials
from bus.client import Bus
from tests.e2e.cli_instance import FAST, PATIENCE_S, ROOT, agents_alive, answer, refused, sluice, start, until
from tests.e2e.web_instance import write_candles

PAGE = (ROOT / "docs" / "inspect.md").read_text()
MINE = ("mine", "--dataset", "test_X-USD_5m", "--patience", "10000", "--population")
pytestmark = pytest.mark.slow


class Block(NamedTuple):
    """Commands of the page; `follow`: they stay until they are interrupted."""

    follow: bool
    text: str


def recipes() -> dict[str, list[Block]]:
    """Heading -> its blocks, in order."""
    parts = re.split(r"^## (.+)$", PAGE, flags=re.M)[1:]
    found = {
        title: [Block(bool(f), text) for f, text in re.findall(r"^```sh( follow)?\n(.*?)^```$", body, re.M | re.S)]
        for title, body in zip(parts[::2], parts[1::2], strict=True)
    }
    return {title: blocks for title, blocks in found.items() if blocks}


def nats_command() -> Path:
    """The pinned version, built if need be."""
    if shutil.which("go") is None:
        pytest.skip("there is no Go here, so the nats command cannot be built and docs/inspect.md is not tried with it")
    done = subprocess.run(
        ["make", "-s", "nats-cli"], cwd=ROOT, capture_output=True, text=True, timeout=900, check=False
    )
    assert done.returncode == 0, done.stderr
    command = ROOT / ".nats-cli" / "nats"
    said = subprocess.run([command, "--version"], capture_output=True, text=True, timeout=PATIENCE_S, check=True)
    # The page names the version that CI builds.
    assert f"nats@{said.stdout.strip()}`" in PAGE
    assert f"version {said.stdout.strip()[1:]};" in PAGE
    return command


class Shell:
    """A shell as the page supposes it: both commands on the path, the variables set, an empty home."""

    def __init__(self, state: Path, nats: Path, home: Path) -> None:
        home.mkdir()
        self.state = state
        self.out = home / "out"
        path = f"{nats.parent}{os.pathsep}{ROOT / '.venv' / 'bin'}{os.pathsep}{os.environ['PATH']}"
        self.env = os.environ | {"PATH": path, "HOME": str(home), "SLUICE_STATE": str(state), "PYTHONPATH": str(ROOT)}
        self.first = "set -euo pipefail\n"

    def run(self, text: str) -> str:
        done = subprocess.run(
            ["bash", "-c", self.first + text], env=self.env, capture_output=True, text=True, timeout=PATIENCE_S, check=False
        )  # fmt: skip
        assert done.returncode == 0, (text, done.stdout, done.stderr)
        return done.stdout

    def follow(self, text: str, wanted: str) -> str:
        """Until `wanted` is said; then as after Ctrl-C."""
        with self.out.open("wb") as out, (self.out.parent / "err").open("wb") as err:
            process = subprocess.Popen(
                ["bash", "-c", self.first + text], env=self.env, stdout=out, stderr=err, start_new_session=True
            )
            try:
                until(lambda: wanted in self.out.read_text(errors="replace"), f"{wanted!r} from {text}")
                assert process.poll() is None, "it did not stay"
            finally:
                os.killpg(process.pid, signal.SIGINT)
                try:
                    process.wait(30)
                except subprocess.TimeoutExpired:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait(30)
        return self.out.read_text(errors="replace")


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    nats = nats_command()
    folder = tmp_path_factory.mktemp("inspect")
    state = folder / "state"
    state.mkdir()
    (state / "sluice.toml").write_text(f'host = "alpha"\n{FAST}')
    up = start(state, "--empty", "--miners", "2")
    try:
        until(lambda: agents_alive(state, 7), "all seven agents alive")
        assert sluice(state, "data", "import", str(write_candles(state / "test_X-USD_5m.csv"))).returncode == 0
        assert sluice(state, *MINE, "20", "--generations", "4", "--units", "2", "--wait").returncode == 0
        asyncio.run(park_something(state))
        until(lambda: len(parked(state)) == 3, "all who read it have parked it")
        yield prepared(Shell(state, nats, folder / "home"))
    finally:
        up.send_signal(signal.SIGINT)
        assert up.wait(PATIENCE_S) == 0


async def park_something(state: Path) -> None:
    bus = await Bus.connect(read_credentials(state / "creds" / "admin.json"), "test", timeout_s=PATIENCE_S)
    await bus.publish("ev.mining.unit.x.validated", b"{no json")
    await bus.close()


def parked(state: Path) -> list[object]:
    found = answer(state, "events", "--parked")
    assert isinstance(found, list)
    return found


def prepared(shell: Shell) -> Shell:
    """With a campaign under way that takes seconds: long enough for its miners to report progress."""
    units = until(lambda: [u for u in _list(shell, "units") if u["state"] == "validated"], "a validated unit")
    asked = answer(shell.state, *MINE, "100", "--generations", "1500", "--units", "2")
    assert isinstance(asked, dict)
    shell.env |= {"UNIT": units[0]["id"], "CAMPAIGN": asked["campaign"], "MINER": "alpha.miner-1"}
    # How to connect stands in one place of the page.
    (connect,) = [line for line in PAGE.splitlines() if line.startswith("export ")]
    shell.first += connect + "\n"
    return shell


def _list(shell: Shell, *args: str) -> list[dict[str, Any]]:
    found = answer(shell.state, *args)
    assert isinstance(found, list)
    return found


def _json_lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


# -- what each recipe has to say --------------------------------------------------------------------------------------


def _connect(shell: Shell, nats: str, ours: str) -> None:
    for stream in ("EVENTS", "WORK", "CLAIM", "RESULT", "PARKED"):
        assert f" {stream} " in nats
    assert "nats-server" in ours


def _campaign(shell: Shell, nats: str, ours: str) -> None:
    """Both begin with the request and end with the campaign's end, and tell the same events in between."""
    told = [[(e["id"], e["type"]) for e in _json_lines(text)] for text in (nats, ours)]
    for events in told:
        types = [t for _, t in events]
        assert types[0] == "cmd.campaign.requested"
        assert types.count("mining.unit.opened") == types.count("mining.unit.validated") == 2
    shared = min(map(len, told))
    assert told[0][:shared] == told[1][:shared]


def _parked(shell: Shell, nats: str, ours: str) -> None:
    # The record is cut before its payload: what is left of the line is no JSON any more.
    said = sorted(re.findall(r'"seq":(\d+).*"reason":"(.*?)","by":"(\w+)"', nats))
    known = [p for p in _list(shell, "events", "--parked")]
    assert said == sorted((str(p["stream_seq"]), p["reason"], p["by"]) for p in known)
    assert {p["by"] for p in known} == {"dispatcher", "projector", "validator"}
    assert all(p["reason"] in ours for p in known)


def _lag(shell: Shell, nats: str, ours: str) -> None:
    for role in ("dispatcher", "projector", "validator"):
        assert re.search(rf"│ {role}-\w+ +│ Pull", nats), nats
        assert re.search(rf"^EVENTS +{role}-\w+ +\d", ours, re.M), ours
    assert re.search(r"│ miners-\w+ +│ Pull +│ Explicit", nats)
    assert re.search(r"^WORK +miners-\w+", ours, re.M)


def _unit(shell: Shell, nats: str, ours: str) -> None:
    unit = shell.env["UNIT"]
    told = _json_lines(nats)
    types = [e["type"] for e in told if "type" in e]
    assert types == [e["type"] for e in _list(shell, "events", "--entity", unit)]
    assert (types[0], types[-1]) == ("mining.unit.opened", "mining.unit.validated")
    assert all(t in ours for t in types)
    assert {(c["replica"], c["host"]) for c in told if "attempts" in c} == {(0, "alpha"), (1, "alpha")}
    assert len(re.findall(rf"result\.[\w-]+\.{unit}\.\d\.alpha\.\d", nats)) == 2
    assert f"Why unit {unit}" in ours


def _miner(shell: Shell, nats: str, ours: str) -> None:
    beat, *rest = _json_lines(nats)
    assert (beat["agent"], beat["host"], beat["kind"]) == ("miner-1", "alpha", "miner")
    assert any(p.get("generation", 0) > 0 for p in rest)
    assert any("runs on alpha" in line.get("message", "") for line in rest)
    assert "alpha" in ours
    assert "miner-1 runs on alpha" in ours


def _event(shell: Shell, nats: str, ours: str) -> None:
    (first,) = _list(shell, "events", "--since", "1", "--limit", "1")
    assert "Item: EVENTS#1 " in nats
    assert first["id"] in nats
    assert first["type"] in ours
    assert "Why event 1" in ours


class Recipe(NamedTuple):
    """`follow`: what has to appear in each block that stays."""

    check: Callable[[Shell, str, str], None]
    follow: tuple[str, ...] = ()


RECIPES = {
    "Connect": Recipe(_connect),
    "Follow a campaign": Recipe(_campaign, ("mining.campaign.finished", "mining.campaign.finished")),
    "List parked messages with their reasons": Recipe(_parked),
    "Show how far readers are behind": Recipe(_lag),
    "Read one unit's history": Recipe(_unit),
    "Watch a miner": Recipe(_miner, ('"generation":', "runs on alpha", "runs on alpha")),
    "Read one event": Recipe(_event),
}


def test_every_recipe_is_checked_and_is_there_for_both_commands() -> None:
    assert set(recipes()) == set(RECIPES)
    for blocks in recipes().values():
        by = {line.split()[0] for b in blocks for line in b.text.splitlines()}
        assert {"nats", "sluice"} <= by <= {"nats", "sluice", "export"}


@pytest.mark.parametrize("title", RECIPES)
def test_a_recipe_says_what_it_promises(shell: Shell, title: str) -> None:
    recipe, said = RECIPES[title], {"nats": "", "sluice": ""}
    wanted = iter(recipe.follow)
    for block in recipes()[title]:
        text = shell.follow(block.text, next(wanted)) if block.follow else shell.run(block.text)
        said["sluice" if block.text.startswith("sluice") else "nats"] += text + "\n"
    recipe.check(shell, said["nats"], said["sluice"])


def test_nobody_deletes_with_the_nats_command_either(shell: Shell) -> None:
    before = answer(shell.state, "status")
    for command in (
        "stream rm -f EVENTS",
        "stream purge -f EVENTS",
        "stream edit -f EVENTS --max-msgs 1",
        "stream rmm -f EVENTS 1",
    ):
        done = subprocess.run(
            ["bash", "-c", f"{shell.first}nats {command}"], env=shell.env, capture_output=True, text=True,
            timeout=PATIENCE_S, check=False,
        )  # fmt: skip
        assert done.returncode == 1
        assert "no responders" in done.stderr, done.stderr
    after = answer(shell.state, "status")
    assert isinstance(before, dict)
    assert isinstance(after, dict)
    assert after["last_seq"] >= before["last_seq"] > 1
    assert _list(shell, "events", "--since", "1", "--limit", "1")[0]["seq"] == 1


def test_without_a_stream_the_nats_command_shows_what_is_sent_and_not_what_is_stored(shell: Shell) -> None:
    """What the page warns of: also what the log refuses, and nothing of what others than the command line send."""
    refused_one = "nats pub ev.mining.unit.y.validated sent-in-vain -H Nats-Expected-Last-Sequence:1"
    shell.follow(f"nats sub 'ev.>' --raw & while {refused_one}; do sleep 0.2; done", "sent-in-vain\n")
    assert _list(shell, "events", "--entity", "y") == []
    mining = " ".join(["sluice", *MINE, "20", "--generations", "4", "--units", "3", "--wait"])
    probe = "nats pub ev.mining.unit.y.validated it-listens -H Nats-Expected-Last-Sequence:1"
    listens = f"until grep -q it-listens {shell.out}; do {probe}; sleep 0.2; done"
    text = shell.follow(f"nats sub 'ev.>' 'claim.>' --raw & {listens}; {mining}; wait", "units validated")
    assert '"cmd.campaign.requested"' in text
    assert '"mining.unit.opened"' not in text
    assert "attempts" not in text
    assert "attempts" in shell.run("nats sub 'claim.>' --stream CLAIM --last --raw --count 1")


def test_the_context_is_for_its_owner_alone_and_an_unknown_role_is_refused(shell: Shell) -> None:
    path = Path(shell.run("sluice creds nats web").strip())
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert json.loads(path.read_text())["inbox_prefix"] == "_INBOX.web"
    assert "no credentials" in refused(sluice(shell.state, "creds", "nats", "nobody"), 3)
    assert "letters" in refused(sluice(shell.state, "creds", "nats", "../admin"), 2)
    assert "--parked" in refused(sluice(shell.state, "events", "--parked", "--type", "mining"), 2)
    assert "8 signs" in refused(sluice(shell.state, "events", "--campaign", "abc"), 2)
