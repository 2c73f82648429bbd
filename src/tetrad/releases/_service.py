"""Compose releases from folders, keep them as manifests, move refs to them, resolve them for requests."""

from __future__ import annotations

import platform
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from tetrad.code import BadCode, Code, CodeSnapshot, FolderSource, GitState, Source, read_git
from tetrad.datasets import CheckedRows, Datasets, DatasetVersion, Row
from tetrad.kernel import Clock, Digest, Principal, digest_json, parse_digest, parse_json, precondition_required
from tetrad.models import Models, ModelVersion
from tetrad.prompts import Reference, first_allowed, parse_reference
from tetrad.registry import (
    ABSENT,
    AUTHORS,
    ArtifactNotFound,
    BadName,
    Edge,
    Evidence,
    Ref,
    RefEntry,
    RefMoved,
    RefStep,
    Registry,
    Version,
    check_simple_name,
    told,
)
from tetrad.releases._compare import Comparisons
from tetrad.releases._declaration import FILE, DataPart, Declaration, parse_declaration
from tetrad.releases._derive import Derivations
from tetrad.releases._lock import refuse_drift
from tetrad.releases._model import (
    STEP,
    App,
    Message,
    ResolvedRelease,
    ResolvedStep,
    build_manifest,
    examples_of,
    refuse_unservable,
)
from tetrad.releases._names import find_release
from tetrad.releases._parts import check_adapter, data_part, model_part, prompt_part
from tetrad.releases._rollback import Rollbacks
from tetrad.releases.errors import AppNotFound, BadDeclaration, BadPart, DeclarationError, ReleaseNotFound, WrongApp
from tetrad.releases.ports import AppStore, Prompts, PromptVersion

KIND = "release"
PRODUCTION = "production"
MAX_DECLARATION_BYTES = 256 * 1024
MAX_PROMPT_BYTES = 1 << 20
MAX_FEWSHOT_ROWS = 200
_CACHED = 512
Adapters = dict[tuple[str, str], list[tuple[ModelVersion, float]]]
"""The adapters, with their scales, of the models of a declaration, by the model's role and name."""


@dataclass(frozen=True, slots=True)
class ReleaseLimits:
    """What is refused as too much."""

    max_data_bytes: int = 256 << 20
    max_upload_bytes: int = 11 << 20
    max_upload_files: int = 5_000


class Composed(msgspec.Struct, frozen=True):
    """A release that was composed; `new` tells whether it was not there before. `notes` are for the author."""

    project: str
    app: str
    digest: Digest
    version: Version
    manifest: Mapping[str, Any]
    new: bool
    notes: tuple[str, ...] = ()

    @property
    def dirty(self) -> bool:
        """Whether its code holds changes that are in no commit."""
        return self.manifest["code"]["patch"] is not None


class Ensured(msgspec.Struct, frozen=True):
    """What `ensure_app` found or made; `moved` tells whether it moved the ref."""

    release: Composed
    ref: Ref
    moved: bool


class AppRefs(msgspec.Struct, frozen=True):
    """An app and where its refs point, without the app's name: `{"production": digest}`."""

    app: App
    refs: Mapping[str, Digest]


class Release(msgspec.Struct, frozen=True):
    """A release with who made it when and why."""

    project: str
    app: str
    digest: Digest
    manifest: Mapping[str, Any]
    version: Version
    refs: tuple[str, ...]


class ReleaseParts(msgspec.Struct, frozen=True):
    """Everything that a release pins, resolved for people."""

    release: Release
    resolved: ResolvedRelease
    code: CodeSnapshot
    data: tuple[tuple[str, DatasetVersion, tuple[Row, ...]], ...]
    models: tuple[tuple[str, ModelVersion], ...]
    prompts: tuple[tuple[str, PromptVersion], ...]


class Releases:
    """Apps and their releases, of all projects. Safe to use from many threads.

    `comparisons` tells what changed between two, `derivations` makes one from another, `rollbacks` goes back to one.
    """

    def __init__(
        self,
        store: AppStore,
        registry: Registry,
        code: Code,
        datasets: Datasets,
        models: Models,
        prompts: Prompts,
        clock: Clock,
        *,
        limits: ReleaseLimits | None = None,
        evidence: Evidence | None = None,
    ) -> None:
        self._store = store
        self._registry = registry
        self._code = code
        self._datasets = datasets
        self._models = models
        self._prompts = prompts
        self._clock = clock
        self.limits = limits or ReleaseLimits()
        self._resolved: dict[tuple[str, str], ResolvedRelease] = {}
        self._lock = threading.Lock()
        self.comparisons = Comparisons(self, registry, datasets, evidence)
        self.derivations = Derivations(self, registry, datasets, models, prompts)
        self.rollbacks = Rollbacks(self)

    def now(self) -> datetime:
        """Return the time by the clock that everything here is dated by."""
        return self._clock.now()

    # -- composing ----------------------------------------------------------------------------------------------

    def compose_folder(
        self,
        project: str,
        folder: Path,
        *,
        actor: Principal,
        git: bool = True,
        reason: str = "",
        expected_outcome: str = "",
        locked: Mapping[str, Any] | None = None,
    ) -> Composed:
        """Compose a release from a folder of this machine; with `git` the code part names its commit and patch."""
        source = FolderSource(folder)
        state = self._git_of(source) if git else None
        return self.compose(
            project, source, actor=actor, git=state, reason=reason, expected_outcome=expected_outcome, locked=locked
        )

    def _git_of(self, source: FolderSource) -> GitState | None:
        declaration = _declaration(source)
        below = source.below(declaration.code.path)
        files, ignore = self._code.list_files(below)
        return read_git(below.root, [file.path for file in files], ignore)

    def compose(
        self,
        project: str,
        source: Source,
        *,
        actor: Principal,
        git: GitState | None = None,
        reason: str = "",
        expected_outcome: str = "",
        locked: Mapping[str, Any] | None = None,
    ) -> Composed:
        """Make the release that `tetrad.yaml` at the root of `source` declares.

        Everything is checked before anything is kept. The same inputs give the same digest on any machine; a release
        that is there already is returned as it is. `locked` is the content of a `tetrad.lock`: where a part resolves to
        anything else, `LockDrift` names it and nothing is kept.
        """
        started = self._clock.now()
        declaration = _declaration(source)
        models = [
            (part.role, self._models.version(project, part.name, part.version or None)) for part in declaration.model
        ]
        adapters = self._adapters(project, declaration, models)
        files = self._files(source, declaration)
        words = {"reason": reason, "expected_outcome": expected_outcome}
        rows = self._check(project, declaration, files, words)
        if locked is not None:
            planned = self._planned(project, source, declaration, files, rows, models, git, adapters, words)
            refuse_drift(locked, planned)
        code = self._code.snapshot(
            project,
            source.below(declaration.code.path),
            actor=actor,
            git=git,
            lock=declaration.code.lock,
            runtime=declaration.code.runtime,
        )
        prompts = [
            (
                part.role,
                self._prompts.put(project, part.name, files[part.file], actor=actor, where=part.file, **words)
                if part.file
                else self._prompts.version(project, part.name, part.version or None),
            )
            for part in declaration.prompt
        ]
        data = [
            (
                part.role,
                self._datasets.keep(project, part.name, rows[part], actor=actor, **words)
                if part.file
                else self._datasets.version(project, part.name, part.version or None),
            )
            for part in declaration.data
        ]
        data += self._prompt_examples(project, [prompt for _, prompt in prompts], data)
        for role, version in data:
            if role == "fewshot":
                self.check_examples(version)
        manifest = _manifest(declaration, code, data, models, prompts, adapters)
        composed = self.keep_manifest(
            project, declaration.app, declaration.description, manifest, actor=actor, started=started, reason=reason,
            expected_outcome=expected_outcome,
        )  # fmt: skip
        return msgspec.structs.replace(composed, notes=_notes(declaration, code, models))

    def _adapters(self, project: str, declaration: Declaration, models: Iterable[tuple[str, ModelVersion]]) -> Adapters:
        found: Adapters = {}
        for part, (_, model) in zip(declaration.model, models, strict=True):
            loaded = []
            for each in part.adapters:
                adapter = self._models.version(project, each.name, each.version or None)
                check_adapter(model, adapter)
                loaded.append((adapter, each.scale))
            found[part.role, model.name] = loaded
        return found

    def _prompt_examples(
        self, project: str, prompts: Iterable[PromptVersion], data: Iterable[tuple[str, DatasetVersion]]
    ) -> list[tuple[str, DatasetVersion]]:
        """Resolve the examples that prompts name, unless the app declares a few-shot dataset of that name itself."""
        declared = {version.name for role, version in data if role == "fewshot"}
        found: dict[str, DatasetVersion] = {}
        for prompt in (each for top in prompts for each in (top, *(step.prompt for step in top.steps))):
            if not prompt.examples:
                continue
            reference = parse_reference(prompt.examples, what="a dataset")
            if reference.name not in declared:
                found[reference.name] = self._dataset(project, reference)
        return [("fewshot", version) for version in found.values()]

    def _dataset(self, project: str, reference: Reference) -> DatasetVersion:
        if not reference.constraint or reference.is_exact:
            return self._datasets.version(project, reference.name, reference.constraint or None)
        before: int | None = None
        while page := self._datasets.versions(project, reference.name, limit=200, before=before):
            if found := first_allowed(reference, [(each.semver, each.semver) for each in page]):
                return self._datasets.version(project, reference.name, found)
            before = page[-1].seq
        raise BadPart(f"no version of the dataset {reference.name!r} fits {reference.constraint}", hint="import one")

    def _check(
        self, project: str, declaration: Declaration, files: Mapping[str, bytes], words: Mapping[str, str]
    ) -> dict[DataPart, CheckedRows]:
        """Refuse what is wrong with prompts and data before any of them is kept; return the rows that are to be."""
        for part in declaration.prompt:
            if part.file:
                self._prompts.check(project, part.name, files[part.file], where=part.file, **words)
            else:
                self._prompts.version(project, part.name, part.version or None)
        rows: dict[DataPart, CheckedRows] = {}
        for item in declaration.data:
            if not item.file:
                self._datasets.version(project, item.name, item.version or None)
                continue
            rows[item] = self._datasets.read_jsonl(project, files[item.file], key=item.key, where=item.file)
            if item.role == "fewshot":
                examples_of(_lines(files[item.file], item), what=item.file)
        return rows

    def _files(self, source: Source, declaration: Declaration) -> dict[str, bytes]:
        files: dict[str, bytes] = {}
        errors: list[DeclarationError] = []
        wanted = [(part.file, part.line, MAX_PROMPT_BYTES) for part in declaration.prompt]
        wanted += [(part.file, part.line, self.limits.max_data_bytes) for part in declaration.data]
        for path, line, most in wanted:
            if path and path not in files:
                data = source.read(path, max_bytes=most)
                if data is None:
                    errors.append(DeclarationError(line, 1, f"the file {path!r} is not there"))
                else:
                    files[path] = data
        if errors:
            raise BadDeclaration(errors, hint="paths are relative to the folder of tetrad.yaml")
        return files

    def _planned(
        self, project: str, source: Source, declaration: Declaration, files: Mapping[str, bytes],
        rows: Mapping[DataPart, CheckedRows], models: Iterable[tuple[str, ModelVersion]], git: GitState | None,
        adapters: Adapters, words: Mapping[str, str],
    ) -> dict[str, Any]:  # fmt: skip
        """Return the manifest that composing would make, keeping nothing."""
        code = self._code.measure(
            source.below(declaration.code.path), git=git, lock=declaration.code.lock, runtime=declaration.code.runtime
        )
        prompts = [
            (
                part.role,
                self._prompts.check(project, part.name, files[part.file], where=part.file, **words)
                if part.file
                else self._prompts.version(project, part.name, part.version or None),
            )
            for part in declaration.prompt
        ]
        data = [
            (
                part.role,
                self._unkept(project, part.name, rows[part])
                if part.file
                else self._datasets.version(project, part.name, part.version or None),
            )
            for part in declaration.data
        ]
        return _manifest(declaration, code, data, models, prompts, adapters)

    def _unkept(self, project: str, name: str, rows: CheckedRows) -> DatasetVersion:
        schema = rows.shape.schema()
        return DatasetVersion(
            project, name, 0, "", rows.scratch.digest(), rows.scratch.order(), digest_json(schema), schema,
            rows.scratch.rows, rows.size, "", "", self._clock.now(),
        )  # fmt: skip

    def keep_manifest(
        self,
        project: str,
        app: str,
        description: str,
        manifest: Mapping[str, Any],
        *,
        actor: Principal,
        started: datetime,
        reason: str = "",
        expected_outcome: str = "",
        kind: str = "compose",
        base: Digest | None = None,
        params: Mapping[str, Any] | None = None,
        authors: Iterable[str] = (),
    ) -> Composed:
        """Keep a manifest whose parts are all kept already, as the next release of its app.

        `kind` names the activity that made it, `params` what it was told, `base` the release that it came from.
        `authors` are the ids of those who made it besides `actor`: gates do not count their approvals either.
        """
        parts = [(Digest(manifest["code"]["digest"]), "code")]
        edges = [Edge(Digest(manifest["code"]["digest"]), "in", "code", "reevaluate")]
        for what in ("data", "model", "prompt"):
            for part in manifest[what]:
                parts.append((Digest(part["digest"]), what))
                edges.append(Edge(Digest(part["digest"]), "in", f"{what}:{part['role']}", "reevaluate"))
        for part in manifest["model"]:
            for adapter in part.get("adapters", ()):
                parts.append((Digest(adapter["digest"]), "adapter"))
                edges.append(Edge(Digest(adapter["digest"]), "in", f"adapter:{part['role']}", "reevaluate"))
        if base is not None:
            edges.append(Edge(base, "in", "base", "none"))
        artifact = self._registry.put_document(project, KIND, manifest, actor=actor, parts=parts)
        self._store.put(App(project, app, description, PRODUCTION, self._clock.now(), actor.id))
        known = {version.name for version in self._registry.versions_of(project, artifact.digest)}
        version = self._registry.add_version(
            project,
            KIND,
            app,
            artifact.digest,
            actor=actor,
            reason=reason,
            expected_outcome=expected_outcome,
            meta={AUTHORS: sorted(makers)} if (makers := set(authors)) else {},
        )
        new = app not in known
        if new:
            self._registry.record(
                project, kind, [*edges, Edge(artifact.digest, "out", "release")], actor=actor, started_at=started,
                params=dict(params or {}),
                environment={"python": platform.python_version(), "os": sys.platform, "machine": platform.machine()},
            )  # fmt: skip
        return Composed(project, app, artifact.digest, version, manifest, new)

    def ensure_app(
        self,
        project: str,
        folder: Path,
        *,
        actor: Principal,
        ref: str = PRODUCTION,
        git: bool = False,
        reason: str = "made at start",
    ) -> Ensured:
        """Make sure that the app of a folder has a release and a ref; calling it again changes nothing.

        The ref is made where it is absent. It follows a changed folder only while nobody else has moved it: what a
        person chose (a rollback, say) stays.
        """
        composed = self.compose_folder(project, folder, actor=actor, git=git, reason=reason)
        refuse_unservable(self.resolve(project, composed.digest))
        name = ref_name(composed.app, ref)
        current = self._registry.find_ref(project, name)
        if current is None:
            try:
                made = self._registry.move_ref(
                    project, name, composed.digest, expected=ABSENT, actor=actor, reason=reason
                )
                return Ensured(composed, made, True)
            except RefMoved:  # another process was first
                return Ensured(composed, self._registry.ref(project, name), False)
        if composed.new and current.moved_by == actor.id and current.digest != composed.digest:
            try:
                moved = self._registry.move_ref(
                    project, name, composed.digest, expected=current.digest, actor=actor, reason=reason
                )
                return Ensured(composed, moved, True)
            except RefMoved:
                return Ensured(composed, self._registry.ref(project, name), False)
        return Ensured(composed, current, False)

    # -- reading ------------------------------------------------------------------------------------------------

    def app(self, project: str, name: str) -> App:
        """Return an app, or raise `AppNotFound`."""
        found = self._store.get(project, name)
        if found is None:
            raise AppNotFound(
                f"the project {project!r} has no app {name[:80]!r}", hint="`tetrad app list` names those it has"
            )
        return found

    def apps(self, project: str, *, limit: int = 50, after: str = "") -> list[AppRefs]:
        """Return the apps of a project with their refs, in the order of names."""
        return [self._with_refs(app) for app in self._store.list(project, limit=limit, after=(project, after))]

    def app_refs(self, project: str, name: str) -> AppRefs:
        """Return an app with its refs."""
        return self._with_refs(self.app(project, name))

    def every_app(self) -> Iterable[AppRefs]:
        """Yield the apps of all projects with their refs: what a route table is compiled from."""
        after = ("", "")
        while page := self._store.list(None, limit=200, after=after):
            for app in page:
                yield self._with_refs(app)
            after = (page[-1].project, page[-1].name)

    def _with_refs(self, app: App) -> AppRefs:
        prefix = f"{app.name}/"
        found = self._registry.refs(app.project, prefix, limit=1000)
        return AppRefs(app, {ref.name.removeprefix(prefix): ref.digest for ref in found})

    def refs(self, project: str, app: str) -> list[Ref]:
        """Return the refs of an app."""
        return self._registry.refs(project, f"{self.app(project, app).name}/", limit=1000)

    def ref(self, project: str, app: str, ref: str) -> Ref:
        """Return a ref of an app, or raise `RefNotFound`."""
        return self._registry.ref(project, ref_name(self.app(project, app).name, ref))

    def history(
        self, project: str, app: str, ref: str | None = None, *, limit: int = 50, before: int | None = None
    ) -> list[RefEntry]:
        """Return the moves of an app's refs, or of one of them, newest first."""
        name = self.app(project, app).name
        below = ref_name(name, ref) if ref is not None else f"{name}/"
        return self._registry.ref_log(project, below, limit=limit, before=before)

    def path(self, project: str, app: str, ref: str, *, limit: int) -> list[RefStep]:
        """Return the newest moves of a ref as bare steps, oldest first."""
        return self._registry.ref_path(project, ref_name(self.app(project, app).name, ref), limit=limit)

    def had(self, project: str, app: str, ref: str, digest: str) -> bool:
        """Tell whether a ref ever pointed to a release."""
        return self._registry.ref_had(project, ref_name(app, ref), digest)

    def releases(self, project: str, app: str, *, limit: int = 50, before: int | None = None) -> list[Version]:
        """Return the releases of an app, newest first."""
        return self._registry.versions(project, KIND, self.app(project, app).name, limit=limit, before=before)

    def find(self, project: str, text: str, *, app: str = "") -> Digest:
        """Return the release that people call `APP/REF`, `APP/REF@3`, a digest, or (of an app) its first digits."""
        return find_release(self, project, text, app=app)

    def is_dirty(self, project: str, digest: str) -> bool:
        """Tell whether a release is made of code that was not committed."""
        return self._manifest(project, digest)["code"]["patch"] is not None

    def release(self, project: str, digest: str) -> Release:
        """Return a release of the project by its digest, or raise `ReleaseNotFound`."""
        manifest = self._manifest(project, digest)
        app = manifest["app"]
        version = next(v for v in self._registry.versions_of(project, digest) if v.kind == KIND and v.name == app)
        refs = tuple(ref.name for ref in self._registry.refs(project, f"{app}/", limit=1000) if ref.digest == digest)
        return Release(project, app, Digest(digest), manifest, version, refs)

    def _manifest(self, project: str, digest: str) -> dict[str, Any]:
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
        return self._resolved_from(project, digest_json(manifest), manifest, drafts)

    def forget_resolved(self, project: str) -> None:
        """Look the releases of a project up anew: content that they rest on has gone."""
        with self._lock:
            for key in [key for key in self._resolved if key[0] == project]:
                del self._resolved[key]

    def revoked(self, project: str, digests: Iterable[str]) -> dict[str, list[str]]:
        """Say in sentences why releases are broken: which revocations reach them. Sound ones are left out."""
        if not self._registry.anything_revoked(project):
            return {}
        found = {each: [told(cause) for cause in self._registry.revoked(project, each)] for each in set(digests)}
        return {digest: causes for digest, causes in found.items() if causes}

    def _resolve(self, project: str, digest: str) -> ResolvedRelease:
        return self._resolved_from(project, Digest(digest), self._manifest(project, digest), {})

    def _resolved_from(
        self, project: str, digest: Digest, manifest: Mapping[str, Any], drafts: Mapping[str, PromptVersion]
    ) -> ResolvedRelease:
        step = manifest["graph"][0]
        model = next(part for part in manifest["model"] if part["role"] == "primary")
        pinned = next((part for part in manifest["prompt"] if part["role"] == "system"), None)
        prompt = self._prompt(project, pinned, drafts) if pinned else None
        shown: dict[str, tuple[Message, ...]] = {}
        for part in manifest["data"]:
            if part["role"] == "fewshot":
                found = self._examples(self._datasets.by_digest(project, part["digest"], part["order"]))
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

    def parts(self, project: str, digest: str, *, rows: int = 20) -> ReleaseParts:
        """Return everything that a release pins, with the first rows of each dataset."""
        return self._parts_of(self.release(project, digest), self.resolve(project, digest), {}, rows)

    def planned_parts(
        self, project: str, manifest: Mapping[str, Any], drafts: Mapping[str, PromptVersion], *, actor: Principal
    ) -> ReleaseParts:
        """Return what a release that is not kept yet pins, as version 0. `drafts` are as in `resolve_planned`."""
        resolved = self.resolve_planned(project, manifest, drafts)
        version = Version(
            project, KIND, resolved.app, 0, "0.0.0", resolved.digest, actor.id, actor.name, self._clock.now()
        )
        release = Release(project, resolved.app, resolved.digest, manifest, version, ())
        return self._parts_of(release, resolved, drafts, 0)

    def _parts_of(
        self, release: Release, resolved: ResolvedRelease, drafts: Mapping[str, PromptVersion], rows: int
    ) -> ReleaseParts:
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

    def check_examples(self, version: DatasetVersion) -> None:
        """Refuse a dataset that cannot be few-shot examples with `BadPart`."""
        self._examples(version)

    def _examples(self, version: DatasetVersion) -> tuple[Message, ...]:
        if version.rows > MAX_FEWSHOT_ROWS:
            raise BadPart(
                f"{version.name}@{version.semver} has {version.rows} rows", hint=f"at most {MAX_FEWSHOT_ROWS} examples"
            )
        rows = ((row.key, row.value) for row in self._datasets.all_rows(version))
        return examples_of(rows, what=f"{version.name}@{version.semver}")

    # -- refs ---------------------------------------------------------------------------------------------------

    def move_ref(
        self,
        project: str,
        app: str,
        ref: str,
        digest: str,
        *,
        expected: str | None,
        actor: Principal,
        reason: str = "",
        create: bool = False,
        change_request: str = "",
        within: Callable[[Any], None] | None = None,
    ) -> Ref:
        """Point a ref of an app to one of its releases, if it points to `expected` now.

        `create` says that the ref must not exist yet. Raises `RefMoved` (409) when it points elsewhere, `WrongApp` for
        another app's release. A release that cannot be resolved cannot be moved to. `change_request` is what the log
        names, `within` takes part in the transaction, as `Registry.move_ref` says.
        """
        name = ref_name(self.app(project, app).name, ref)
        resolved = self.resolve(project, digest)
        if resolved.app != app:
            raise WrongApp(
                f"{digest} is a release of {resolved.app!r}, not of {app!r}", hint="name one of its releases"
            )
        refuse_unservable(resolved)
        if expected is None and not create:
            raise precondition_required(repr(name), new="ref")
        return self._registry.move_ref(
            project, name, digest, expected=ABSENT if create else expected, actor=actor, reason=reason,
            change_request=change_request, within=within,
        )  # fmt: skip


def ref_name(app: str, ref: str) -> str:
    """Return the registry's name of an app's ref: `assistant/production`."""
    if "/" in ref:
        raise BadName(f"{ref[:80]!r} is no ref of an app", hint="name the ref alone, such as production")
    return f"{app}/{check_simple_name(ref, 'name of a ref')}"


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


def _declaration(source: Source) -> Declaration:
    text = source.read(FILE, max_bytes=MAX_DECLARATION_BYTES)
    if text is None:
        raise BadCode(
            f"there is no {FILE}", hint="write one, or name the folder that has it; it begins with app: my-app"
        )
    return parse_declaration(text)


def _lines(data: bytes, part: DataPart) -> Iterable[tuple[str, Mapping[str, Any]]]:
    count = 0
    for number, line in enumerate(data.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        if line.strip():
            count += 1
            if count > MAX_FEWSHOT_ROWS:
                raise BadPart(f"{part.file} has more than {MAX_FEWSHOT_ROWS} rows", hint="keep fewer examples")
            value = parse_json(line, where=f"{part.file}:{number}")
            if isinstance(value, dict):
                yield f"of line {number}", value


def _manifest(
    declaration: Declaration,
    code: CodeSnapshot,
    data: Iterable[tuple[str, DatasetVersion]],
    models: Iterable[tuple[str, ModelVersion]],
    prompts: Iterable[tuple[str, PromptVersion]],
    adapters: Adapters,
) -> dict[str, Any]:
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


def _notes(declaration: Declaration, code: CodeSnapshot, models: Iterable[tuple[str, ModelVersion]]) -> tuple[str, ...]:
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
