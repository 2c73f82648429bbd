"""Keep releases as manifests, move the refs of their apps, and find both again."""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from tetrad.code import Code, FolderSource, GitState, Source
from tetrad.datasets import Datasets, DatasetVersion
from tetrad.kernel import Clock, Digest, Principal, precondition_required
from tetrad.models import Models
from tetrad.registry import ABSENT, AUTHORS, Edge, Evidence, Ref, RefEntry, RefMoved, RefStep, Registry, Version, told
from tetrad.releases._compare import Comparisons
from tetrad.releases._compose import Composer, ReleaseLimits
from tetrad.releases._derive import Derivations
from tetrad.releases._kept import KIND, AppRefs, Composed, Ensured, Release, ReleaseParts, ref_name
from tetrad.releases._model import App, ResolvedRelease, refuse_unservable
from tetrad.releases._names import find_release
from tetrad.releases._resolve import Resolver
from tetrad.releases._rollback import Rollbacks
from tetrad.releases.errors import AppNotFound, WrongApp
from tetrad.releases.ports import AppStore, Prompts, PromptVersion

PRODUCTION = "production"


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
        self._clock = clock
        self.limits = limits or ReleaseLimits()
        self._resolver = Resolver(registry, code, datasets, models, prompts)
        self._composer = Composer(self._resolver, code, datasets, models, prompts, clock, self.limits)
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
        state = self._composer.git_of(source) if git else None
        return self.compose(
            project, source, actor=actor, git=state, reason=reason, expected_outcome=expected_outcome, locked=locked
        )

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
        words = {"reason": reason, "expected_outcome": expected_outcome}
        made = self._composer.make(project, source, actor=actor, git=git, words=words, locked=locked)
        composed = self.keep_manifest(
            project, made.app, made.description, made.manifest, actor=actor, started=started, reason=reason,
            expected_outcome=expected_outcome,
        )  # fmt: skip
        return msgspec.structs.replace(composed, notes=made.notes)

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
        return self._resolver.manifest(project, digest)["code"]["patch"] is not None

    def release(self, project: str, digest: str) -> Release:
        """Return a release of the project by its digest, or raise `ReleaseNotFound`."""
        manifest = self._resolver.manifest(project, digest)
        app = manifest["app"]
        version = next(v for v in self._registry.versions_of(project, digest) if v.kind == KIND and v.name == app)
        refs = tuple(ref.name for ref in self._registry.refs(project, f"{app}/", limit=1000) if ref.digest == digest)
        return Release(project, app, Digest(digest), manifest, version, refs)

    def resolve(self, project: str, digest: str, *, anew: bool = False) -> ResolvedRelease:
        """Return a release as requests need it. Releases are immutable, so the answer is kept.

        `anew` reads it from the stores all the same, for who wants to know what is in them.
        """
        return self._resolver.resolve(project, digest, anew=anew)

    def resolve_planned(
        self, project: str, manifest: Mapping[str, Any], drafts: Mapping[str, PromptVersion]
    ) -> ResolvedRelease:
        """Return a release that is not kept yet as requests need it; `drafts` are its prompts that are not, by digest.

        Its digest is the one that it has once it is kept.
        """
        return self._resolver.resolve_planned(project, manifest, drafts)

    def forget_resolved(self, project: str) -> None:
        """Look the releases of a project up anew: content that they rest on has gone."""
        self._resolver.forget(project)

    def revoked(self, project: str, digests: Iterable[str]) -> dict[str, list[str]]:
        """Say in sentences why releases are broken: which revocations reach them. Sound ones are left out."""
        if not self._registry.anything_revoked(project):
            return {}
        found = {each: [told(cause) for cause in self._registry.revoked(project, each)] for each in set(digests)}
        return {digest: causes for digest, causes in found.items() if causes}

    def parts(self, project: str, digest: str, *, rows: int = 20) -> ReleaseParts:
        """Return everything that a release pins, with the first rows of each dataset."""
        return self._resolver.parts(self.release(project, digest), self.resolve(project, digest), {}, rows)

    def planned_parts(
        self, project: str, manifest: Mapping[str, Any], drafts: Mapping[str, PromptVersion], *, actor: Principal
    ) -> ReleaseParts:
        """Return what a release that is not kept yet pins, as version 0. `drafts` are as in `resolve_planned`."""
        resolved = self.resolve_planned(project, manifest, drafts)
        version = Version(
            project, KIND, resolved.app, 0, "0.0.0", resolved.digest, actor.id, actor.name, self._clock.now()
        )
        release = Release(project, resolved.app, resolved.digest, manifest, version, ())
        return self._resolver.parts(release, resolved, drafts, 0)

    def check_examples(self, version: DatasetVersion) -> None:
        """Refuse a dataset that cannot be few-shot examples with `BadPart`."""
        self._resolver.examples(version)

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
