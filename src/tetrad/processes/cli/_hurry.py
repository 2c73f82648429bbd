"""`tetrad rollback`, typed in a hurry: read and done by the standard library, before anything heavy is imported.

Typer and what it brings cost more time than the rollback. Whatever is not read here (a help, a mistake) goes its usual
way, through `_rollback`.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from typing import Any, NamedTuple, TextIO

from tetrad.kernel import InvalidInput, TetradError, short
from tetrad.kit.light_client import LightClient, path_part
from tetrad.kit.plain_text import plain

_VALUES = {"--to": "to", "--reason": "reason", "-m": "reason", "--project": "project", "-p": "project"}
_FLAGS = {"--force": "force", "--json": "as_json"}


class Wanted(NamedTuple):
    """What to roll back, as it was typed."""

    ref: str
    to: str = ""
    reason: str = ""
    force: bool = False
    project: str = "default"
    as_json: bool = False


def read_arguments(arguments: Sequence[str]) -> Wanted | None:
    """Read what follows `tetrad rollback`; None for anything that is not plainly a rollback."""
    found: dict[str, Any] = {"project": os.environ.get("TETRAD_PROJECT") or "default"}
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        option, equals, value = word.partition("=")
        if word in _FLAGS:
            found[_FLAGS[word]] = True
        elif option in _VALUES and equals and option.startswith("--"):
            found[_VALUES[option]] = value
        elif word in _VALUES and rest and not rest[0].startswith("-"):
            found[_VALUES[word]] = rest.pop(0)
        elif word.startswith("-") or "ref" in found:
            return None
        else:
            found["ref"] = word
    return Wanted(**found) if "ref" in found else None


def run(arguments: Sequence[str]) -> int | None:
    """Do a rollback and return the exit code; None where the usual way must be gone, and nothing was done."""
    wanted = read_arguments(arguments)
    if wanted is None:
        return None
    try:
        roll_back(wanted)
        sys.stdout.flush()
    except TetradError as error:
        from tetrad.processes.cli._app import show_error

        show_error(error)
        return 2 if error.status == 400 else 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        return 0
    return 0


def roll_back(wanted: Wanted) -> None:
    """Roll back, say what changed with it, and which callers run other code."""
    app, slash, name = wanted.ref.partition("/")
    if not slash or not app or not name:
        raise InvalidInput(f"{wanted.ref!r} is no ref", hint="write APP/REF, such as assistant/production")
    client = LightClient.from_environment()
    base = f"/api/v1/projects/{path_part(wanted.project)}"
    path = f"{base}/apps/{path_part(app)}/refs/{path_part(name)}"
    began = time.perf_counter()
    done = client.post(f"{path}/rollback", {"to": wanted.to or None, "reason": wanted.reason, "force": wanted.force})
    answered_ms = (time.perf_counter() - began) * 1e3
    changed = _asked(client, f"{base}/release-diff", **{"from": done["from"], "to": done["to"], "rows": 0})
    running = _asked(client, f"{path}/code")
    if wanted.as_json:
        _say(json.dumps({**done, "diff": changed, "code": running}, indent=2, ensure_ascii=False))
        return
    _say(f"{app}/{name}: {short(done['from'])} → {short(done['to'])}")
    if done["dirty"]:
        _say("DIRTY: the code of this release holds changes that are in no commit")
    for line in changed["summary"] if changed else ():
        _say(f"  {plain(line)}")
    if changed is None:
        _say("note: what changed could not be told; the rollback stands", sys.stderr)
    _tell_code(running)
    _say(f"moved in {done['took_ms']:.0f} ms, confirmed after {answered_ms:.0f} ms")


def _say(text: str, stream: TextIO | None = None) -> None:
    (stream or sys.stdout).write(text + "\n")


def _asked(client: LightClient, path: str, **query: Any) -> dict[str, Any] | None:
    """Return what is good to know; the rollback is done, so that it may also be missing."""
    try:
        found: dict[str, Any] = client.get(path, **query)
    except TetradError:
        return None
    return found


def _tell_code(running: dict[str, Any] | None) -> None:
    if running is None:
        _say("note: which code runs could not be told; the rollback stands", sys.stderr)
        return
    others = [each for each in running["announced"] if not each["matches"]]
    if not others:
        return
    minutes = running["window_s"] // 60
    _say(f"code of other releases ran in the last {minutes} minutes; roll it back where it is deployed:")
    for each in others:
        who = " ".join(plain(part) for part in (each["service"], f"key {each['key_id']}") if part)
        _say(f"  {short(each['tree'])}  {who}, {each['requests']} requests, the last at {each['last_seen']}")
    _say(f"  wanted: {short(running['tree'])}")
