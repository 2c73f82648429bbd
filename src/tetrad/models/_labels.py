"""What may stand behind the `@` of a model: a version number, or an alias, which is a ref."""

from __future__ import annotations

import re

from tetrad.models.errors import BadModel
from tetrad.registry import SemVer

ALIASES = "models"
_ALIAS = re.compile(r"[a-z](?:[a-z0-9._-]{0,61}[a-z0-9])?")


def alias_ref(name: str, alias: str) -> str:
    """Return the ref that an alias of a model is: `models/local/smollm2-135m/best`; refuse what is no alias."""
    if not _ALIAS.fullmatch(alias):
        raise BadModel(
            f"{alias[:80]!r} is no alias", hint="a word such as best: it begins with a letter and has no `/` or `@`"
        )
    return f"{ALIASES}/{name}/{alias}"


def check_label(label: str) -> str:
    """Return what may stand behind the `@` of a model: a version number or an alias; refuse anything else."""
    if label[:1].isdigit():
        SemVer.parse(label)
    else:
        alias_ref("", label)
    return label
