"""The manifest that a declaration and its resolved parts make, and what its author should know of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tetrad.code import CodeSnapshot
from tetrad.datasets import DatasetVersion
from tetrad.models import ModelVersion
from tetrad.releases._declaration import FILE, Declaration
from tetrad.releases._model import STEP, build_manifest
from tetrad.releases._parts import data_part, model_part, prompt_part
from tetrad.releases.errors import BadPart
from tetrad.releases.ports import PromptVersion

Adapters = dict[tuple[str, str], list[tuple[ModelVersion, float]]]
"""The adapters, with their scales, of the models of a declaration, by the model's role and name."""


def manifest_of(
    declaration: Declaration,
    code: CodeSnapshot,
    data: Iterable[tuple[str, DatasetVersion]],
    models: Iterable[tuple[str, ModelVersion]],
    prompts: Iterable[tuple[str, PromptVersion]],
    adapters: Adapters,
) -> dict[str, Any]:
    """Return the manifest of what is declared; each part goes with its role. It is the same on every machine."""
    prompt_parts = list(prompts)
    model_parts = list(models)
    code_part: dict[str, Any] = {"digest": code.digest, "tree": code.tree, "patch": code.patch}
    if code.commit:
        code_part["git"] = {"commit": code.commit, "tree": code.git_tree}
    if code.lock:
        code_part["lock"] = code.lock
    if code.runtime:
        code_part["runtime"] = dict(code.runtime)
    system = next((prompt for role, prompt in prompt_parts if role == "system"), None)
    primary = next(model for role, model in model_parts if role == "primary")
    engines = {(part.role, part.name): part.engine.part() for part in declaration.model if part.engine}
    step: dict[str, Any] = {
        "step": STEP,
        "model": primary.name,
        "sampling": {**(system.params if system else {}), **declaration.sampling},
        "next": [],
    }
    graph = [step]
    if system:
        step["prompt"] = system.name
        graph = _chain_graph(system, step, declaration) if system.steps else graph
    if declaration.steps and not (system and system.steps):
        raise BadPart("`steps` are given, and the prompt is no chain", hint="leave them out, or name a chain")
    return build_manifest(
        app=declaration.app,
        code=code_part,
        data=[data_part(role, version) for role, version in data],
        model=[
            model_part(role, version, engines.get((role, version.name)), adapters.get((role, version.name), ()))
            for role, version in model_parts
        ],
        prompt=[prompt_part(role, prompt) for role, prompt in prompt_parts],
        graph=graph,
    )


def _chain_graph(chain: PromptVersion, step: Mapping[str, Any], declaration: Declaration) -> list[dict[str, Any]]:
    """Return a step of the graph per step of a chain; what the app declares of sampling holds for each of them."""
    unknown = sorted(set(declaration.steps) - {each.name for each in chain.steps})
    if unknown:
        raise BadPart(
            f"the chain {chain.name!r} has no step {unknown[0][:80]!r}",
            hint=f"its steps: {', '.join(each.name for each in chain.steps)}",
        )
    following = [[each.name] for each in chain.steps[1:]] + [[]]
    return [
        {
            **step,
            "step": each.name,
            "prompt": each.prompt.name,
            "model": declaration.steps.get(each.name, step["model"]),
            "sampling": {**each.prompt.params, **declaration.sampling},
            "next": after,
        }
        for each, after in zip(chain.steps, following, strict=True)
    ]


def notes_on(
    declaration: Declaration, code: CodeSnapshot, models: Iterable[tuple[str, ModelVersion]]
) -> tuple[str, ...]:
    """Say what the author of a release should know: changes in no commit, files counted twice, hosted models."""
    notes: list[str] = []
    if code.dirty:
        notes.append("the code has changes that are not committed; the release holds them as a patch")
    prefix = "" if declaration.code.path == "." else declaration.code.path + "/"
    held = {prefix + file.path for file in code.files}
    files = {*(part.file for part in declaration.data), *(part.file for part in declaration.prompt)}
    doubled = sorted(held & {FILE, *files})
    if doubled:
        notes.append(
            f"{', '.join(doubled)} {'is' if len(doubled) == 1 else 'are'} part of the code as well, so that a change "
            "there changes the code's digest; list what is no code in .tetradignore"
        )
    if not code.files:
        notes.append("the release holds no code")
    notes += [
        f"{version.name} is hosted and may change under its name; the release cannot be reproduced exactly"
        f" ({version.record.reproduction_cap} at best), and a canary probe should watch it"
        if version.record.wants_canary
        else f"{version.name} is hosted; its answers can be had again at {version.record.reproduction_cap} at best"
        for _, version in models
        if version.record.reproduction_cap
    ]
    return tuple(notes)
