"""`tetrad up --detach`, `status`, `logs`, `down`: the product in the background."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import httpx
import psutil

from support.ports import free_port
from support.product import product_environment, running_product


def test_it_starts_in_the_background_tells_its_state_and_stops(tmp_path: Path) -> None:
    ports = {"gateway_port": free_port(), "control_port": free_port()}
    home = tmp_path / 'A & "Ö"'  # names of folders are what people make them
    environment = product_environment(home)
    environment["PATH"] = "/usr/bin:/bin"  # as in the shell of a newcomer, who has cloned and nothing else
    flags = (f"--gateway-port={ports['gateway_port']}", f"--control-port={ports['control_port']}")

    def tetrad(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "tetrad", *arguments],
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=150,
            check=False,
        )

    assert tetrad("status").returncode == 3
    assert tetrad("down").returncode == 0, "nothing to stop is no error"
    started = tetrad("up", "--detach", *flags)
    try:
        assert started.returncode == 0, started.stdout + started.stderr
        assert "login#token=" in started.stdout, "the sign-in link is printed"
        assert "Ctrl-C" not in started.stdout, "no terminal holds it that could be interrupted"
        stop = re.search(r"Stop with `(.+) down`", started.stdout)
        assert stop, "without a program of that name on the path, the one that runs is named"
        assert Path(shlex.split(stop[1])[0]).is_relative_to(Path(sys.prefix))
        assert httpx.get(f"http://127.0.0.1:{ports['gateway_port']}/readyz", trust_env=False).status_code == 200
        shown = tetrad("status").stdout
        assert "gateway-0" in shown
        assert "smollm2-135m" in shown, "control is asked where it was told to answer"
        exported = tetrad("env").stdout
        assert f"OPENAI_BASE_URL=http://127.0.0.1:{ports['gateway_port']}/v1" in exported
        assert f"TETRAD_CONTROL_URL=http://127.0.0.1:{ports['control_port']}" in exported
        again = tetrad("up", "--detach", *flags)
        assert again.returncode == 1
        assert "already runs" in again.stderr
        assert "route table" in tetrad("logs", "control").stdout
        missing = tetrad("logs", "nobody")
        assert missing.returncode == 1
        assert "gateway-0" in missing.stderr, "the error names the logs there are"
    finally:
        stopped = tetrad("down")
    assert stopped.returncode == 0, stopped.stderr
    assert tetrad("status").returncode == 3
    home = environment["TETRAD_HOME"]
    named = [p for p in psutil.process_iter(["environ"]) if (p.info["environ"] or {}).get("TETRAD_HOME") == home]
    assert not named, "no process of this installation is left"


def test_without_a_model_of_its_own_it_starts_and_says_what_to_do(tmp_path: Path) -> None:
    with running_product(tmp_path, bundled_model=False) as product:
        assert "tetrad provider set" in product.said()
        assert httpx.get(f"{product.gateway_url}/readyz", trust_env=False).status_code == 200


def test_every_command_explains_itself(tmp_path: Path) -> None:
    def tetrad(argument: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "tetrad", argument],
            env=product_environment(tmp_path / "home"),
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    top = tetrad("--help").stdout
    for command in ("up", "down", "status", "logs", "env", "login", "settings", "trace", "app", "release", "key"):
        assert command in top
    unknown = tetrad("pu")
    assert unknown.returncode == 2
    assert "Traceback" not in unknown.stderr
