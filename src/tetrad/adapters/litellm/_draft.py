"""A plan in the making: what the readers of the sections share, and the report that all of them write."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from tetrad.adapters.litellm._kinds import Reached
from tetrad.adapters.litellm._plan import Finding, Outcome, Step
from tetrad.adapters.litellm._reading import is_number, shown
from tetrad.kit.plain_yaml import Path, PlainYaml

_PERIODS = {"1d": "day", "24h": "day", "7d": "week", "1w": "week", "30d": "month", "1mo": "month"}


@dataclass(slots=True)
class Provider:
    """A provider in the making: its models, and the timeouts that its deployments name."""

    name: str
    reached: Reached
    base_url: str
    secret: str
    key: bool = False
    models: dict[str, dict[str, Any]] = field(default_factory=dict)
    timeouts: set[float] = field(default_factory=set)


@dataclass(slots=True)
class Group:
    """Deployments of one name: a route in the making."""

    name: str
    targets: dict[str, dict[str, Any]] = field(default_factory=dict)
    aliases: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Draft:
    """What was read so far. `providers` are told apart by kind, address and the place of their key."""

    lines: PlainYaml
    config: dict[str, Any]
    environ: Mapping[str, str]
    findings: list[Finding] = field(default_factory=list)
    providers: dict[tuple[str, str, str], Provider] = field(default_factory=dict)
    groups: dict[str, Group] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict)
    rules: list[Step] = field(default_factory=list)

    def section(self, name: str) -> Mapping[str, Any]:
        """Return a section of the file, empty where there is none."""
        found = self.config.get(name)
        return found if isinstance(found, dict) else {}

    def say(self, path: Path, outcome: Outcome, what: str, to_do: str = "") -> None:
        """Note what becomes of an entry."""
        self.findings.append(Finding(shown(path), self.lines.line(*path), outcome, what, to_do))

    def budget(self, path: Path, found: Mapping[str, Any], amount: str, duration: str, subject: str, name: str) -> None:
        """Take a budget, where `found` has one."""
        if not is_number(found.get(amount), least=0):
            return
        given = str(found.get(duration) or "")
        period = _PERIODS.get(given, "total" if not given else "month")
        money = format(Decimal(str(found[amount])), "f")
        body = {
            "subject": subject, "name": name, "amount": money, "period": period, "hard": True, "unknown": "count",
        }  # fmt: skip
        self.rules.append(Step("budget", f"{subject} {name}", "budgets", body))
        exact = not given or given in _PERIODS
        self.say(
            (*path, amount), "taken" if exact else "changed", f"{money} USD for {subject} {name}, {period}",
            "" if exact else f"{given!r} is no period here",
        )  # fmt: skip
