"""`tetrad.lock`: what each part of an app's declaration resolved to, as a file that stands in Git."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from tetrad.kernel import canonical_json, parse_json, short
from tetrad.releases.errors import BadLock, LockDrift

LOCK_FILE = "tetrad.lock"
LOCK_SCHEMA = "tetrad.lock/1"
MAX_LOCK_BYTES = 4 << 20
_KINDS = ("data", "model", "prompt")


def lock_of(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the parts of a manifest resolved to.

    The commit and the release's own digest are left out: a file that is committed cannot name the commit that it is in,
    nor what that commit is part of. The same folder gives the same lock on every machine.
    """
    code = manifest["code"]
    return {
        "schema": LOCK_SCHEMA,
        "app": manifest["app"],
        "code": {name: code[name] for name in ("tree", "lock", "runtime") if code.get(name)},
        **{kind: [dict(part) for part in manifest[kind]] for kind in _KINDS},
        "sampling": {str(step["step"]): dict(step["sampling"]) for step in manifest["graph"]},
    }


def format_lock(lock: Mapping[str, Any]) -> bytes:
    """Return a lock as the bytes of its file: sorted names, one value a line, so that Git merges and shows it well."""
    canonical_json(lock)  # what has no canonical form has no place in it
    return (json.dumps(lock, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode("utf-8")


def read_lock(data: bytes, *, where: str = LOCK_FILE) -> dict[str, Any]:
    """Read a lock file, or refuse with `BadLock`."""
    if len(data) > MAX_LOCK_BYTES:
        raise BadLock(f"{where} has {len(data)} bytes, at most {MAX_LOCK_BYTES}")
    return check_lock(parse_json(data, where=where), where=where)


def check_lock(lock: Any, *, where: str = LOCK_FILE) -> dict[str, Any]:
    """Return a lock whose form is right, or refuse with `BadLock`."""
    hint = "compose without --locked to write it anew"
    if not isinstance(lock, dict) or lock.get("schema") != LOCK_SCHEMA:
        raise BadLock(f"{where} is no lock of this version ({LOCK_SCHEMA})", hint=hint)
    if not isinstance(lock.get("app"), str):
        raise BadLock(f"{where}: app is a text", hint=hint)
    for kind in ("code", "sampling"):
        if not isinstance(lock.get(kind), dict):
            raise BadLock(f"{where}: {kind} is an object", hint=hint)
    for kind in _KINDS:
        parts = lock.get(kind)
        if not isinstance(parts, list) or not all(
            isinstance(part, dict) and all(isinstance(part.get(name), str) for name in ("role", "name", "digest"))
            for part in parts
        ):
            raise BadLock(f"{where}: {kind} is a list of parts with role, name and digest", hint=hint)
    return lock


def drift(locked: Mapping[str, Any], resolved: Mapping[str, Any]) -> list[str]:
    """Say, part by part, where two locks differ; nothing where they are equal."""
    return list(_drift(locked, resolved))


def _drift(locked: Mapping[str, Any], resolved: Mapping[str, Any]) -> Iterator[str]:
    if locked["app"] != resolved["app"]:
        yield f"app: the lock is of {locked['app']!r}, the declaration of {resolved['app']!r}"
    for name in sorted({*locked["code"], *resolved["code"]}):
        was, now = locked["code"].get(name), resolved["code"].get(name)
        if was != now:
            yield f"code {name}: {_said(was)} is locked, {_said(now)} is there"
    for kind in _KINDS:
        was_parts = {(part["role"], part["name"]): part for part in locked[kind]}
        now_parts = {(part["role"], part["name"]): part for part in resolved[kind]}
        for key in sorted({*was_parts, *now_parts}):
            label = f"{kind} {key[0]} {key[1]}"
            was, now = was_parts.get(key), now_parts.get(key)
            if was is None or now is None:
                yield f"{label}: {'is not in the lock' if was is None else 'is in the lock only'}"
            elif was["digest"] != now["digest"]:
                yield f"{label}: {short(was['digest'])} is locked, {short(now['digest'])} is there"
            elif canonical_json(was) != canonical_json(now):
                fields = sorted(name for name in {*was, *now} if was.get(name) != now.get(name))
                yield f"{label}: {', '.join(fields)} differ from the lock"
    for step in sorted({*locked["sampling"], *resolved["sampling"]}):
        old, new = locked["sampling"].get(step) or {}, resolved["sampling"].get(step) or {}
        for name in sorted({*old, *new}):
            was, now = ({name: side[name]} if name in side else {} for side in (old, new))
            if canonical_json(was) != canonical_json(now):
                yield f"sampling {name}: {_said(was.get(name))} is locked, {_said(now.get(name))} is there"


def _said(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, str) and value.startswith("sha256:"):
        return short(value)
    return json.dumps(value, ensure_ascii=False, sort_keys=True)


def refuse_drift(locked: Any, manifest: Mapping[str, Any]) -> None:
    """Raise `LockDrift`, naming every part, where a manifest is not what the lock says."""
    found = drift(check_lock(locked), lock_of(manifest))
    if found:
        raise LockDrift(found)
