"""Project names and versions (PEP 503, PEP 440), as far as indexes need them."""

from __future__ import annotations

import re

_VERSION = re.compile(
    r"v?(?:(?P<epoch>\d+)!)?(?P<release>\d+(?:\.\d+)*)(?:[-_.]?(?P<pre>alpha|beta|preview|pre|a|b|c|rc)[-_.]?(?P<pre_n>\d*))?"
    r"(?:-(?P<post_i>\d+)|[-_.]?(?:post|rev|r)[-_.]?(?P<post_n>\d*))?(?:[-_.]?dev[-_.]?(?P<dev>\d*))?"
    r"(?:\+(?P<local>[a-z0-9]+(?:[-_.][a-z0-9]+)*))?",
    re.IGNORECASE,
)
_CLAUSE = re.compile(r"\s*(===|==|~=|!=|<=|>=|<|>)\s*([^\s,]+)\s*")
_PRE = {"alpha": 0, "a": 0, "beta": 1, "b": 1, "c": 2, "rc": 2, "pre": 2, "preview": 2}
Version = tuple[int, tuple[int, ...], tuple[int, int], int, tuple[int, int], str]


def normalized(name: str) -> str:
    """Return the name of a project as indexes file it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def version_key(text: str) -> Version | None:
    """Return a version as a value that sorts, or None where it is not one (PEP 440)."""
    match = _VERSION.fullmatch(text.strip())
    if match is None:
        return None
    release = [int(part) for part in match["release"].split(".")]
    while len(release) > 1 and release[-1] == 0:
        release.pop()
    has_post = match["post_i"] is not None or match["post_n"] is not None
    post = int(match["post_i"] or match["post_n"] or 0) if has_post else -1
    dev = (0, int(match["dev"] or 0)) if match["dev"] is not None else (1, 0)
    if match["pre"]:
        pre = (_PRE[match["pre"].lower()], int(match["pre_n"] or 0))
    else:  # 1.0.dev1 comes before 1.0a1, 1.0 after 1.0rc9
        pre = (-1, 0) if dev[0] == 0 and not has_post else (9, 0)
    return (int(match["epoch"] or 0), tuple(release), pre, post, dev, (match["local"] or "").lower())


def is_prerelease(version: Version) -> bool:
    """Tell whether a version is an alpha, beta, candidate or development version."""
    return version[2][0] < 9 or version[4][0] == 0


def allows(specifier: str, version: str) -> bool:
    """Tell whether a version satisfies `>=1.2,<2`, `==1.*`, `1.2.3` or the empty specifier."""
    key = version_key(version)
    if key is None:
        return False
    for part in filter(None, (part.strip() for part in specifier.split(","))):
        match = _CLAUSE.fullmatch(part)
        operator, wanted = match.groups() if match else ("==", part)
        if not _clause(operator, wanted, version, key):
            return False
    return True


def _clause(operator: str, wanted: str, version: str, key: Version) -> bool:
    if operator == "===":
        return version == wanted
    if wanted.endswith(".*") and operator in ("==", "!="):
        prefix = [int(part) for part in wanted[:-2].split(".")]
        release = [*key[1], *([0] * len(prefix))][: len(prefix)]
        return (release == prefix) == (operator == "==")
    bound = version_key(wanted)
    if bound is None:
        return False
    mine = key if bound[5] else (*key[:5], "")
    if operator == "~=":
        prefix = [int(part) for part in wanted.split(".")[:-1]]
        return mine >= bound and [*key[1], *([0] * len(prefix))][: len(prefix)] == prefix
    if operator == "<":
        return mine < bound and not (is_prerelease(key) and key[:2] == bound[:2] and not is_prerelease(bound))
    return {"==": mine == bound, "!=": mine != bound, "<=": mine <= bound, ">=": mine >= bound, ">": mine > bound}[
        operator
    ]
