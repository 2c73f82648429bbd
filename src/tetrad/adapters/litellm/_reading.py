"""What a value of a configuration is, and how its place and its name are written."""

from __future__ import annotations

import re
from typing import Any, TypeGuard

from tetrad.kit.plain_yaml import Path


def is_number(value: Any, least: float | None = None) -> TypeGuard[int | float]:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return value > 0 if least is None else value >= least


def whole_weight(weight: float) -> int:
    """Weights are whole numbers here, and nothing but nought means never."""
    return round(weight) if weight >= 1 else 0 if weight == 0 else 1


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def slug(text: str, *, dots: bool = False) -> str:
    made = re.sub(r"[^a-z0-9._-]+" if dots else r"[^a-z0-9-]+", "-", text.lower()).strip("-._")[:63]
    if dots and made in ("health", "app", "release"):
        made += "-model"
    return made or "model"


def shown(path: Path) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).removeprefix(".")
