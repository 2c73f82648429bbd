"""The bootstrap does what is missing, nothing twice, and tells a newcomer what to do."""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from support.index_server import make_wheel, write_file_index
from tetrad.kit.package_index import IndexSettings

ROOT = Path(__file__).parents[3]
SCRIPT = ROOT / "scripts" / "bootstrap.py"

# What uv would do, as far as the bootstrap can see: it keeps its arguments and makes the environment's programs.
FAKE_UV = """#!/bin/sh
if [ "$1" = --version ]; then echo "uv 0.13.9"; exit 0; fi
echo "$* DEFAULT=$UV_DEFAULT_INDEX EXTRA=$UV_INDEX LINKS=$UV_FIND_LINKS" >> "$FAKE_UV_LOG"
if [ -n "$FAKE_UV_FAILS" ]; then echo "error: no route to index"; exit 2; fi
mkdir -p .venv/bin
case "$1" in
  export) ;;
  venv) ln -sf "$3" .venv/bin/python && touch .venv/pyvenv.cfg;;
  *) [ -L .venv/bin/python ] || touch .venv/bin/python; touch .venv/bin/tetrad;;
esac
"""


@pytest.fixture
def bootstrap() -> Iterator[ModuleType]:
    spec = importlib.util.spec_from_file_location("bootstrap_under_test", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    sys.modules.pop(spec.name, None)
    sys.modules.pop("package_index", None)


class Checkout:
    """A copy of what the bootstrap reads, with a uv that only keeps a diary."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "checkout"
        self.diary = folder / "uv.log"
        self.programs = folder / "bin"
        self.programs.mkdir()
        for name in ("scripts/bootstrap.py", "pyproject.toml", "uv.lock", "sdk/python/pyproject.toml"):
            (self.root / name).parent.mkdir(parents=True, exist_ok=True)
            (self.root / name).write_bytes((ROOT / name).read_bytes())
        index = "src/tetrad/kit/package_index"
        (self.root / index).mkdir(parents=True)
        for path in (ROOT / index).glob("*.py"):
            (self.root / index / path.name).write_bytes(path.read_bytes())
        self.program("uv", FAKE_UV)

    def program(self, name: str, text: str) -> None:
        (self.programs / name).write_text(text)
        (self.programs / name).chmod(0o755)

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        env = {
            "HOME": str(self.root.parent / "home"),
            "PATH": f"{self.programs}:/usr/bin:/bin",
            "PIP_CONFIG_FILE": "/dev/null",
            "FAKE_UV_LOG": str(self.diary),
            **environment,
        }
        command = [sys.executable, "-W", "error", "scripts/bootstrap.py", *arguments]
        return subprocess.run(command, cwd=self.root, env=env, capture_output=True, text=True, check=False)

    def asked_of_uv(self) -> list[str]:
        return self.diary.read_text().splitlines() if self.diary.exists() else []


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


def test_a_second_run_does_nothing_and_asks_nobody(checkout: Checkout) -> None:
    first = checkout.run()
    assert first.returncode == 0, first.stderr
    assert "installing Python packages" in first.stderr
    assert len(checkout.asked_of_uv()) == 1
    second = checkout.run()
    assert (second.returncode, second.stderr) == (0, "")
    assert len(checkout.asked_of_uv()) == 1


def test_changed_dependencies_are_installed_again(checkout: Checkout) -> None:
    checkout.run()
    with (checkout.root / "uv.lock").open("a") as lock:
        lock.write("\n# changed\n")
    checkout.run()
    assert len(checkout.asked_of_uv()) == 2


def test_the_tools_for_tests_stay_once_they_are_there(checkout: Checkout) -> None:
    checkout.run()
    checkout.run("--dev")
    checkout.run()
    asked = checkout.asked_of_uv()
    assert len(asked) == 2
    assert "--group dev" not in asked[0]
    assert "--group dev" in asked[1]
    with (checkout.root / "uv.lock").open("a") as lock:
        lock.write("\n# changed\n")
    checkout.run()
    assert "--group dev" in checkout.asked_of_uv()[2]


def test_the_public_index_is_installed_from_the_lock(checkout: Checkout) -> None:
    extra = "file:///srv/one/simple https://two/simple"
    checkout.run(PIP_EXTRA_INDEX_URL=extra, PIP_FIND_LINKS="/srv/wheels")
    (asked,) = checkout.asked_of_uv()
    assert asked.startswith("sync --frozen")
    assert f"DEFAULT=https://pypi.org/simple EXTRA={extra} LINKS=/srv/wheels" in asked


def test_a_mirror_gets_the_locked_versions_and_hashes_by_name(checkout: Checkout) -> None:
    checkout.run(PIP_INDEX_URL="https://mirror.example/simple")
    asked = checkout.asked_of_uv()
    assert [line.partition(" --")[0] for line in asked] == ["export", "venv", "pip sync", "pip install"]
    assert "--require-hashes" in asked[2]
    assert "--no-deps" in asked[3]
    assert all("DEFAULT=https://mirror.example/simple" in line for line in asked)


def test_behind_a_mirror_another_python_gets_an_environment_of_its_own(checkout: Checkout) -> None:
    def asked_after_a_change() -> list[str]:
        before = len(checkout.asked_of_uv())
        with (checkout.root / "uv.lock").open("a") as lock:
            lock.write("\n# changed\n")
        assert checkout.run(PIP_INDEX_URL="https://mirror.example/simple").returncode == 0
        return [line for line in checkout.asked_of_uv()[before:] if line.startswith("venv ")]

    assert len(asked_after_a_change()) == 1
    assert asked_after_a_change() == []
    python = checkout.root / ".venv" / "bin" / "python"
    python.unlink()
    python.symlink_to(checkout.root / "python3.99")  # as after an upgrade of the machine
    (asked,) = asked_after_a_change()
    assert "--clear" in asked


def test_a_failed_step_shows_what_was_said_and_what_to_do_and_is_tried_again(checkout: Checkout) -> None:
    failed = checkout.run(FAKE_UV_FAILS="1")
    assert failed.returncode == 1
    assert "| error: no route to index" in failed.stderr
    assert "PIP_INDEX_URL" in failed.stderr
    assert "Traceback" not in failed.stderr
    assert checkout.run().returncode == 0


def test_uv_is_brought_from_the_index_where_there_is_none(checkout: Checkout, tmp_path: Path) -> None:
    (checkout.programs / "uv").unlink()
    wheel = make_wheel({"uv-0.13.9.data/scripts/uv": FAKE_UV.encode(), "uv/__init__.py": b""})
    url = write_file_index(tmp_path / "mirror", {"uv-0.13.9-py3-none-any.whl": wheel})
    done = checkout.run(PIP_INDEX_URL=url, PATH="/usr/bin:/bin")
    assert done.returncode == 0, done.stderr
    assert "uv 0.13.9" in done.stderr
    brought = checkout.root / ".bootstrap" / "uv" / "uv"
    assert os.access(brought, os.X_OK)
    assert not list((checkout.root / ".bootstrap" / "downloads").glob("*.whl"))


def test_an_old_uv_on_path_is_passed_over(checkout: Checkout, tmp_path: Path) -> None:
    checkout.program("uv", "#!/bin/sh\necho 'uv 0.1.0'\n")
    done = checkout.run(PIP_INDEX_URL=(tmp_path / "empty").as_uri())
    assert done.returncode == 1
    assert "no package 'uv' is known" in done.stderr
    assert "PIP_INDEX_URL" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_console_is_built_only_when_its_sources_changed(checkout: Checkout) -> None:
    ui = checkout.root / "ui"
    (ui / "src").mkdir(parents=True)
    (ui / "package.json").write_text("{}")
    (ui / "package-lock.json").write_text("{}")
    (ui / "src" / "main.ts").write_text("1")
    diary = checkout.root.parent / "npm.log"
    checkout.program("node", "#!/bin/sh\necho v22.1.0\n")
    checkout.program(
        "npm",
        f'#!/bin/sh\nif [ "$1" = --version ]; then echo 10.0.0; exit; fi\necho "$*" >> {diary}\n'
        "mkdir -p node_modules dist; touch dist/index.html\n",
    )
    for change, expected in (
        (None, ["ci --no-audit --no-fund", "run build"]),
        (None, []),
        ("src/main.ts", ["run build"]),
        ("src/main.test.ts", []),
        ("package-lock.json", ["ci --no-audit --no-fund", "run build"]),
    ):
        diary.unlink(missing_ok=True)
        if change:
            (ui / change).write_text(f"{change} changed")
        done = checkout.run()
        assert done.returncode == 0, done.stderr
        assert (diary.read_text().splitlines() if diary.exists() else []) == expected
    assert checkout.run("--no-console").returncode == 0


def test_two_at_once_take_turns(checkout: Checkout) -> None:
    slow = FAKE_UV.replace("mkdir", "sleep 0.3; mkdir")
    checkout.program("uv", slow)
    env = {"PATH": f"{checkout.programs}:/usr/bin:/bin", "FAKE_UV_LOG": str(checkout.diary), "HOME": "/nonexistent"}
    command = [sys.executable, "scripts/bootstrap.py"]
    both = [subprocess.Popen(command, cwd=checkout.root, env=env, stderr=subprocess.DEVNULL) for _ in range(2)]
    assert [child.wait(30) for child in both] == [0, 0]
    syncs = [line for line in checkout.asked_of_uv() if line.startswith(("sync", "pip sync"))]
    assert len(syncs) == 1


def test_an_interrupted_stamp_is_no_stamp(checkout: Checkout) -> None:
    checkout.run()
    (checkout.root / ".bootstrap" / "python.json").write_text('{"inputs": "ab')
    checkout.run()
    assert len(checkout.asked_of_uv()) == 2
    assert json.loads((checkout.root / ".bootstrap" / "python.json").read_text())["dev"] is False


def test_an_older_python_is_told_in_words(tmp_path: Path) -> None:
    source = SCRIPT.read_text("utf-8")
    program = f"import sys\nsys.version_info = (3, 9, 2)\nexec(compile({source!r}, 'bootstrap.py', 'exec'))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "needs Python 3.11 or newer" in done.stderr
    assert "is 3.9" in done.stderr
    assert "make PYTHON=" in done.stderr
    ast.parse(source, feature_version=(3, 8))  # an older Python must get as far as the message


def test_nothing_outside_the_standard_library_is_imported() -> None:
    files = [SCRIPT, *(ROOT / "src/tetrad/kit/package_index").glob("*.py")]
    names: set[str] = set()
    for path in files:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                names.add((node.module or "").partition(".")[0])
    assert names - set(sys.stdlib_module_names) == {"tetrad"}  # `tetrad.kernel` for errors, where it is there


def test_what_was_said_to_uv_itself_stays(bootstrap: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UV_DEFAULT_INDEX", "corp=https://uv.example/simple")
    monkeypatch.setenv("VIRTUAL_ENV", "/somewhere/else")
    settings = IndexSettings(
        indexes=("https://pip.example/simple", "https://extra/simple"),
        find_links=("/a", "/b"),
        cert=str(SCRIPT),
        proxy="http://proxy:1",
        trusted_hosts=frozenset({"pip.example"}),
    )
    env = bootstrap.uv_environment(settings)
    assert env["UV_DEFAULT_INDEX"] == "corp=https://uv.example/simple"
    assert env["UV_INDEX"] == "https://extra/simple"
    assert env["UV_FIND_LINKS"] == "/a,/b"
    assert env["UV_INSECURE_HOST"] == "pip.example"
    assert env["NODE_EXTRA_CA_CERTS"]
    assert env["UV_PYTHON_DOWNLOADS"] == "never"
    assert "VIRTUAL_ENV" not in env


def test_make_lists_its_commands() -> None:
    done = subprocess.run(["make", "-s"], cwd=ROOT, capture_output=True, text=True, check=True)
    listed = {line.split()[1] for line in done.stdout.splitlines() if line.startswith("  make ")}
    assert {"up", "down", "test", "test-all", "check", "bench", "demo", "docs", "fmt", "clean"} <= listed
