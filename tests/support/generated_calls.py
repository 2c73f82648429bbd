"""Calls that schemathesis makes up from a control app's OpenAPI document, and what is wrong with their answers."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import hypothesis
import schemathesis
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

CHECKS = (not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance)


def wrong_answers(
    app: Any, document: Mapping[str, Any], key: str, *, examples: int, seed: int, most: int = 10_000
) -> tuple[int, int, list[str]]:
    """Call every operation `examples` times; return how many operations were called, how often, and what was wrong.

    Of the operations at most `most` are called, in an order that is by the seed, so that each gets its turn.
    """
    schema = schemathesis.openapi.from_dict(dict(document))
    schema.app = app
    found: list[str] = []
    wrong: list[str] = []
    operations = calls = 0

    def call(case: Any) -> None:
        nonlocal calls
        calls += 1
        answer = case.call(headers={"authorization": f"Bearer {key}"})
        try:
            case.validate_response(answer, checks=list(CHECKS))
        except (FailureGroup, AssertionError) as error:
            wrong.append(f"{case.method} {case.formatted_path}: {error}"[:1500])

    every = [each.ok() for each in schema.get_all_operations()]
    for operation in sorted(every, key=lambda each: hash_of(f"{seed} {each.method} {each.path}"))[:most]:
        operations += 1
        wrong.clear()
        tried(call, operation.as_strategy(), examples, seed)
        found += wrong[:2]
    return operations, calls, found


def tried(call: Callable[[Any], None], cases: Any, examples: int, seed: int) -> None:
    """Make calls of a strategy, the same for the same seed."""
    run = hypothesis.seed(seed)(
        hypothesis.settings(
            max_examples=examples, deadline=None, database=None, phases=[hypothesis.Phase.generate],
            suppress_health_check=list(hypothesis.HealthCheck),
        )(hypothesis.given(cases)(call))
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            run()
        except hypothesis.errors.Unsatisfiable:
            return


def hash_of(text: str) -> int:
    """Return a number of a text that is the same in every process."""
    import hashlib

    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
