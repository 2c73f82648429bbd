"""Read a release's manifest and everything that it pins: as a request needs it, and as people look at it."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from tetrad.code import Code
from tetrad.datasets import Datasets, DatasetVersion
from tetrad.kernel import Digest, digest_json, parse_digest
from tetrad.models import Models, ModelVersion
from tetrad.prompts import parse_reference
from tetrad.registry import ArtifactNotFound, Registry
from tetrad.releases._kept import KIND, Release, ReleaseParts
from tetrad.releases._model import MAX_EXAMPLES, Message, ResolvedRelease, ResolvedStep, examples_of
from tetrad.releases.errors import BadPart, ReleaseNotFound
from tetrad.releases.ports import Prompts, PromptVersion

_CACHED = 512


class Resolver:
    """Reads releases and what they pin. Safe to use from many threads."""

    def __init__(self, registry: Registry, code: Code, datasets: Datasets, models: Models, prompts: Prompts) -> None:
        self._registry = registry
        self._code = code
        self._datasets = datasets
        self._models = models
        self._prompts = prompts
        self._resolved: dict[tuple[str, str], ResolvedRelease] = {}
        self._lock = threading.Lock()

    def manifest(self, project: str, digest: str) -> dict[str, Any]:
        """Return the manifest of a release, or raise `ReleaseNotFound`."""
        try:
            artifact = self._registry.artifact(project, digest)
        except ArtifactNotFound as error:
            raise ReleaseNotFound(f"the project {project!r} has no release {digest}", hint=error.hint) from None
        if artifact.kind != KIND:
            raise ReleaseNotFound(f"{digest} is a {artifact.kind}, not a release", hint="check the digest")
        return self._registry.document(project, digest)

    def resolve(self, project: str, digest: str, *, anew: bool = False) -> ResolvedRelease:
        """Return a release as requests need it. Releases are immutable, so the answer is kept.

        `anew` reads it from the stores all the same, for who wants to know what is in them.
        """
        if anew:
            return self._resolve(project, digest)
        key = (project, parse_digest(digest))
        found = self._resolved.get(key)
        if found is None:
            found = self._resolve(project, digest)
            with self._lock:
                if len(self._resolved) >= _CACHED:
                    self._resolved.pop(next(iter(self._resolved)))
                self._resolved[key] = found
        return found

    def resolve_planned(
        self, project: str, manifest: Mapping[str, Any], drafts: Mapping[str, PromptVersion]
    ) -> ResolvedRelease:
        """Return a release that is not kept yet as requests need it; `drafts` are its prompts that are not, by digest.

        Its digest is the one that it has once it is kept.
        """
        return self._from_manifest(project, digest_json(manifest), manifest, drafts)

    def forget(self, project: str) -> None:
        """Look the releases of a project up anew: content that they rest on has gone."""
        with self._lock:
            for key in [key for key in self._resolved if key[0] == project]:
                del self._resolved[key]

    def _resolve(self, project: str, digest: str) -> ResolvedRelease:
        return self._from_manifest(project, Digest(digest), self.manifest(project, digest), {})

    def _from_manifest(
        self, project: str, digest: Digest, manifest: Mapping[str, Any], drafts: Mapping[str, PromptVersion]
    ) -> ResolvedRelease:
        step = manifest["graph"][0]
        model = next(part for part in manifest["model"] if part["role"] == "primary")
        pinned = next((part for part in manifest["prompt"] if part["role"] == "system"), None)
        prompt = self._prompt(project, pinned, drafts) if pinned else None
        shown: dict[str, tuple[Message, ...]] = {}
        for part in manifest["data"]:
            if part["role"] == "fewshot":
                found = self.examples(self._datasets.by_digest(project, part["digest"], part["order"]))
                shown[part["name"]] = (*shown.get(part["name"], ()), *found)
        return ResolvedRelease(
            digest=digest,
            project=project,
            app=manifest["app"],
            model=model["name"],
            model_digest=Digest(model["digest"]),
            model_kind=model["kind"],
            adapters=tuple(Digest(adapter["digest"]) for adapter in model.get("adapters", ())),
            prompt_name=prompt.name if prompt else "",
            prompt_version=prompt.version if prompt else "",
            prompt_digest=prompt.digest if prompt else None,
            syntax=prompt.syntax if prompt else "mustache",
            messages=prompt.messages if prompt else (),
            variables=prompt.variables if prompt else (),
            examples=tuple(message for messages in shown.values() for message in messages),
            params={**(prompt.request if prompt else {}), **step["sampling"]},
            code_digest=manifest["code"]["tree"],
            code_artifact=manifest["code"]["digest"],
            code_dirty=manifest["code"]["patch"] is not None,
            on_violation=prompt.on_violation if prompt else "error",
            repair=prompt.repair if prompt else False,
            steps=_steps(prompt, manifest, shown) if prompt else (),
        )

    def parts(
        self, release: Release, resolved: ResolvedRelease, drafts: Mapping[str, PromptVersion], rows: int
    ) -> ReleaseParts:
        """Return everything that a release pins, with the first `rows` rows of each dataset."""
        project, manifest = release.project, release.manifest
        data = []
        for part in manifest["data"]:
            version = self._datasets.by_digest(project, part["digest"], part["order"])
            data.append((part["role"], version, tuple(self._datasets.rows(version, limit=rows))))
        return ReleaseParts(
            release,
            resolved,
            self._code.get(project, manifest["code"]["digest"]),
            tuple(data),
            tuple((part["role"], self._model_version(project, part)) for part in manifest["model"]),
            tuple((part["role"], self._prompt(project, part, drafts)) for part in manifest["prompt"]),
        )

    def _prompt(self, project: str, part: Mapping[str, Any], drafts: Mapping[str, PromptVersion]) -> PromptVersion:
        draft = drafts.get(part["digest"])
        return draft if draft is not None else self._prompts.get(project, part["digest"], part["name"])

    def _model_version(self, project: str, part: Mapping[str, Any]) -> ModelVersion:
        for _, version in self._models.versions(project, part["name"], limit=200):
            if version.digest == part["digest"]:
                return version
        record = self._models.get(project, part["digest"])
        return ModelVersion(part["name"], "", record, record.created_by, "", record.created_at)

    def examples(self, version: DatasetVersion) -> tuple[Message, ...]:
        """Return a dataset as few-shot examples; raise `BadPart` where it cannot be."""
        if version.rows > MAX_EXAMPLES:
            raise BadPart(
                f"{version.name}@{version.semver} has {version.rows} rows", hint=f"at most {MAX_EXAMPLES} examples"
            )
        rows = ((row.key, row.value) for row in self._datasets.all_rows(version))
        return examples_of(rows, what=f"{version.name}@{version.semver}")


def _steps(
    chain: PromptVersion, manifest: Mapping[str, Any], shown: Mapping[str, tuple[Message, ...]]
) -> tuple[ResolvedStep, ...]:
    """Return the steps of a chain, each with the examples that its own prompt names."""
    graph = {step["step"]: step for step in manifest["graph"]}
    return tuple(
        ResolvedStep(
            name=step.name,
            inputs=step.inputs,
            model=graph[step.name]["model"],
            prompt_name=step.prompt.name,
            prompt_version=step.prompt.version,
            syntax=step.prompt.syntax,
            messages=step.prompt.messages,
            variables=step.prompt.variables,
            params={**step.prompt.request, **graph[step.name]["sampling"]},
            on_violation=step.prompt.on_violation,
            repair=step.prompt.repair,
            examples=shown.get(_examples_name(step.prompt), ()),
        )
        for step in chain.steps
    )


def _examples_name(prompt: PromptVersion) -> str:
    return parse_reference(prompt.examples, what="a dataset").name if prompt.examples else ""
