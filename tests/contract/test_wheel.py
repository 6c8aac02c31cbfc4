"""The wheel is an application: installed in an empty environment it works from any folder, with all its files."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("agents", "bench", "bus", "cli", "domain", "kernels", "market", "projections", "web")
READ_BUNDLED = """
import sys
from importlib import resources
from market.bundled import bundled
from market.importer import import_file
[data] = bundled()
candles = import_file(data.path)
conf = resources.files("bus") / "nats.conf"
print(len(candles), candles.hash()[:12], data.venue, data.symbol, data.granularity_s)
print("jetstream" in conf.read_text(encoding="utf-8").lower())
print(resources.files("market"))
"""
IMPORT_ALL = """
import importlib, pkgutil
for name in {packages!r}:
    package = importlib.import_module(name)
    for module in pkgutil.walk_packages(package.__path__, name + "."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
print("imported")
"""

pytestmark = pytest.mark.slow


def run(command: list[str], cwd: Path, **variables: str) -> str:
    """Standard output of a command that must succeed, without our source tree on its path."""
    env = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV", "SLUICE_STATE")} | variables
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, f"{command[:4]} ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def uv() -> str | None:
    ours = ROOT / ".venv" / "bootstrap" / "bin" / "uv"
    return str(ours) if ours.is_file() else shutil.which("uv")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy of what git tracks, as a fresh clone would."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    names = run(["git", "ls-files", "-z"], ROOT).split("\0") if (ROOT / ".git").exists() else []
    for name in filter(None, names):
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, source / name)
    if not names:
        shutil.copytree(ROOT, source, ignore=shutil.ignore_patterns(".*", "__pycache__", "dist"))
    tool = uv()
    if tool:
        run([tool, "build", "--quiet", "--wheel", "--out-dir", str(folder / "dist"), str(source)], folder)
    else:
        run([sys.executable, "-m", "venv", "builder"], folder)
        run([str(folder / "builder/bin/pip"), "wheel", "--no-deps", "-w", "dist", str(source)], folder)
    [built] = (folder / "dist").glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of an environment that holds the wheel and its locked dependencies, nothing of the test's."""
    folder = tmp_path_factory.mktemp("empty")
    run([sys.executable, "-m", "venv", *(["--without-pip"] if uv() else []), "env"], folder)
    python, tool = folder / "env/bin/python", uv()
    if tool:
        locked = run([tool, "export", "--quiet", "--frozen", "--no-dev", "--no-emit-project", "--no-hashes"], ROOT)
        (folder / "locked.txt").write_text(locked)
        options = ["--quiet", "--python", str(python), "--constraints", str(folder / "locked.txt")]
        run([tool, "pip", "install", *options, str(wheel)], folder)
    else:
        run([str(python), "-m", "pip", "install", "--quiet", str(wheel)], folder)
    return folder / "env/bin"


def test_every_file_of_the_packages_is_shipped_and_no_other(wheel: Path) -> None:
    shipped = {n for n in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in n}
    tracked = run(["git", "ls-files", "-z", *PACKAGES], ROOT).split("\0")
    wanted = {n for n in tracked if n and (ROOT / n).is_file()} | {"bus/nats.conf"}
    assert shipped == wanted
    assert "market/datasets/coinbase_BTC-USD_5m.parquet" in shipped


def test_data_and_configuration_are_found_from_another_folder(installed: Path, tmp_path: Path) -> None:
    first, has_jetstream, where = run([str(installed / "python"), "-c", READ_BUNDLED], tmp_path).splitlines()
    assert first == "59205 5bb9e3d07a55 coinbase BTC-USD 300"
    assert has_jetstream == "True"
    assert Path(where).is_relative_to(installed.parent)


def test_every_module_imports_with_the_declared_dependencies_alone(installed: Path, tmp_path: Path) -> None:
    code = IMPORT_ALL.format(packages=PACKAGES)
    assert run([str(installed / "python"), "-c", code], tmp_path).strip().endswith("imported")


def test_the_command_answers_from_another_folder(installed: Path, tmp_path: Path) -> None:
    said = run([str(installed / "sluice"), "--help"], tmp_path)
    assert "sluice" in said.lower()
    assert list(tmp_path.iterdir()) == [], "asking for help leaves nothing behind"
