"""Keep bindings as versions of the registry, move the refs that name them, say what they mean and what is wrong."""

from __future__ import annotations

import ipaddress
import logging
import re
import threading
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from tetrad.bindings._diff import BindingChange, diff_bindings
from tetrad.bindings._environments import BindingSet, Bound, place_of, ref_of
from tetrad.bindings._model import KIND, Binding, McpServerBinding, ProviderBinding
from tetrad.bindings._read import read_binding
from tetrad.bindings.errors import (
    BadBinding,
    BindingNotFound,
    BindingUnreadable,
    NeverBound,
    NotABinding,
    NothingToRollBack,
    Problem,
    TooManyBindings,
)
from tetrad.bindings.ports import Installed
from tetrad.kernel import Digest, InvalidInput, Principal, TetradError, parse_digest, precondition_required, short
from tetrad.registry import (
    ABSENT,
    BINDINGS,
    ArtifactNotFound,
    Ref,
    RefEntry,
    Registry,
    Version,
    VersionNotFound,
    had_before,
)

MAX_BINDINGS: Final = 1_000
LOOKED_BACK: Final = 10_000
_PAGE = 500
_CACHED = 2 * MAX_BINDINGS
_SEMVER = re.compile(r"\d+\.\d+\.\d+")
_log = logging.getLogger(__name__)


class KeptBinding(msgspec.Struct, frozen=True):
    """A binding with the name, number and author that it was given; `version` is None for one that nobody named."""

    digest: Digest
    binding: Binding
    version: Version | None


class BoundRef(msgspec.Struct, frozen=True):
    """A ref of a binding and what it points to; `kept` is None where that cannot be read, `problem` says why."""

    ref: Ref
    kept: KeptBinding | None
    problem: str = ""


class PutBinding(msgspec.Struct, frozen=True):
    """A binding that was put in force; `moved` is False where it was in force already."""

    bound: BoundRef
    moved: bool
    warnings: tuple[Problem, ...]


class BindingBack(msgspec.Struct, frozen=True):
    """A binding that was moved back."""

    bound: BoundRef
    old: Digest
    new: Digest
    reason: str


class Bindings:
    """The bindings of all projects. Safe to use from many threads.

    A binding is an artifact of the registry, its history are versions, and the ref `bindings/ENV` says which one is in
    force; `bindings/ENV/APP` is what one app has instead. An app's ref of the same name uses it:
    `assistant/production` is bound by `bindings/production`.
    """

    def __init__(self, registry: Registry, installed: Installed) -> None:
        self._registry = registry
        self._installed = installed
        self._read: dict[tuple[str, str], Binding] = {}
        self._lock = threading.Lock()

    # -- writing ------------------------------------------------------------------------------------------------

    def put(
        self,
        project: str,
        env: str,
        document: object,
        *,
        actor: Principal,
        app: str = "",
        expected: str | None = None,
        create: bool = False,
        reason: str = "",
        expected_outcome: str = "",
    ) -> PutBinding:
        """Keep a binding as the next version and put it in force, if its ref points to `expected` now.

        `create` says that the environment has none yet. Everything is checked before anything is kept: raises
        `BadBinding` with every name that does not resolve, `RefMoved` (409) where somebody was faster, `GateRefused`
        where a gate asks for more; then the version is kept all the same, so that it can be approved. The same again
        changes nothing.
        """
        ref = ref_of(env, app)
        binding = read_binding(document)
        if binding.inherit and not app:
            raise BadBinding([Problem(("inherit",), "an environment has no other binding to follow; name an app")])
        problems = self.check(project, binding)
        if wrong := [problem for problem in problems if problem.severity == "error"]:
            raise BadBinding(wrong, hint="`tetrad binding check` tells what does not resolve; nothing was kept")
        if expected is None and not create:
            raise precondition_required(repr(ref), new="binding")
        before = self._registry.find_ref(project, ref)
        if before is None and len(self._registry.refs(project, f"{BINDINGS}/", limit=MAX_BINDINGS)) >= MAX_BINDINGS:
            raise TooManyBindings(
                f"the project {project!r} has {MAX_BINDINGS} bindings", hint="use an environment that is there"
            )
        artifact = self._registry.put_document(project, KIND, binding.document(), actor=actor)
        self._registry.add_version(
            project, KIND, ref.removeprefix(f"{BINDINGS}/"), artifact.digest, actor=actor, reason=reason,
            expected_outcome=expected_outcome,
        )  # fmt: skip
        moved = self._registry.move_ref(
            project, ref, artifact.digest, expected=ABSENT if create else expected, actor=actor, reason=reason
        )
        changed = before is None or before.digest != artifact.digest
        return PutBinding(self._shown(project, moved), changed, tuple(problems))

    def roll_back(
        self,
        project: str,
        env: str,
        *,
        actor: Principal,
        app: str = "",
        to: str | None = None,
        expected: str | None = None,
        reason: str = "",
    ) -> BindingBack:
        """Point the ref of a binding to what it had before, or to an earlier one that `to` names, in one step.

        Its gates are asked. `NothingToRollBack` where there is no earlier one, `NeverBound` for one that it never had,
        `RefMoved` (409) where it points elsewhere than `expected`, or moves meanwhile.
        """
        ref = ref_of(env, app)
        newest_first: list[RefEntry] = []
        for entry in self._moves(project, ref):
            newest_first.append(entry)
            if len(newest_first) >= LOOKED_BACK:
                break
        moves = newest_first[::-1]
        if not moves or moves[-1].new is None:
            raise self._no_binding(project, env, app)
        seen = parse_digest(expected) if expected else moves[-1].new
        had = had_before(moves)
        if to is None:
            if not had:
                raise NothingToRollBack(f"{ref!r} has no earlier binding", hint="put another one")
            target = had[0]
        else:
            target = self.find(project, to).digest
            if target == seen:
                raise NothingToRollBack(f"{ref!r} points to {short(target)} already", hint="nothing was moved")
            if not any(target in (entry.new, entry.old) for entry in moves):
                told = ", ".join(short(digest) for digest in had[:5]) or "none"
                raise NeverBound(f"{ref!r} never had {short(target)}", hint=f"it had {told}; or put that binding anew")
        words = f"rollback{f': {reason}' if reason else ''}"
        moved = self._registry.move_ref(project, ref, target, expected=seen, actor=actor, reason=words)
        return BindingBack(self._shown(project, moved), seen, target, words)

    # -- reading ------------------------------------------------------------------------------------------------

    def current(self, project: str, env: str, app: str = "") -> BoundRef:
        """Return what binds an environment, or one app in it: its own, else the environment's; or `BindingNotFound`."""
        if app:
            own = self._registry.find_ref(project, ref_of(env, app))
            if own is not None:
                shown = self._shown(project, own)
                if shown.kept is None or not shown.kept.binding.inherit:
                    return shown
        found = self._registry.find_ref(project, ref_of(env))
        if found is None:
            raise self._no_binding(project, env, "")
        return self._shown(project, found)

    def own(self, project: str, env: str, app: str = "") -> BoundRef:
        """Return what the very ref of an environment, or of an app in it, points to; or raise `BindingNotFound`."""
        return self._shown(project, self._ref(project, ref_of(env, app)))

    def all(self, project: str, *, limit: int = 50, after: str = "") -> list[BoundRef]:
        """Return the bindings in force, in the order of their refs' names; `after` is the name to go on from."""
        found = self._registry.refs(project, f"{BINDINGS}/", limit=limit, after=after)
        return [self._shown(project, ref) for ref in found]

    def history(
        self, project: str, env: str, app: str = "", *, limit: int = 50, before: int | None = None
    ) -> list[tuple[RefEntry, Version | None]]:
        """Return the moves of a binding's ref, newest first, with the version that each move put in force."""
        ref = ref_of(env, app)
        found = self._registry.ref_log(project, ref, limit=limit, before=before)
        if not found and before is None:
            raise self._no_binding(project, env, app)
        return [(each, self._version(project, ref, each.new) if each.new else None) for each in found]

    def find(self, project: str, text: str) -> KeptBinding:
        """Return the binding that people call `production`, `production/assistant`, `production@1.2.0`, or a digest."""
        if text.startswith("sha256:"):
            return self._kept(project, parse_digest(text), "")
        place, at, number = text.removeprefix(f"{BINDINGS}/").partition("@")
        env, _, app = place.partition("/")
        ref = ref_of(env, app)
        if not at:
            return self._kept(project, self._ref(project, ref).digest, ref)
        if not _SEMVER.fullmatch(number):
            raise InvalidInput(f"{number[:20]!r} is no version of a binding", hint="write production@1.2.0")
        try:
            version = self._registry.version(project, KIND, place, number)
        except VersionNotFound as error:
            raise BindingNotFound(error.message, hint=f"`tetrad binding history --env {env}` lists them") from None
        return self._kept(project, version.digest, ref)

    def diff(self, project: str, old: str, new: str) -> tuple[KeptBinding, KeptBinding, tuple[BindingChange, ...]]:
        """Say what changed between two bindings, each named as for `find`."""
        before, after = self.find(project, old), self.find(project, new)
        return before, after, diff_bindings(before.binding, after.binding)

    def set_of(self, project: str) -> BindingSet:
        """Return all bindings in force of a project: what a route table is compiled from."""
        found: dict[str, Bound] = {}
        after = ""
        while page := self._registry.refs(project, f"{BINDINGS}/", limit=_PAGE, after=after):
            for ref in page:
                try:
                    binding, problem = self._binding(project, ref.digest), ""
                except NotABinding:
                    # An app that was called so before the name was reserved keeps its releases, and binds nothing.
                    _log.warning("the ref %s of %s points to no binding and binds nothing", ref.name, project)
                    continue
                except TetradError as error:
                    binding, problem = None, error.message
                found[ref.name] = Bound(ref.name, ref.digest, binding, problem)
            if len(page) < _PAGE:
                break
            after = page[-1].name
        return BindingSet(found)

    def check(self, project: str, binding: Binding) -> list[Problem]:
        """Say which names of a binding do not resolve in a project now, and what looks unwise (`warning`)."""
        problems: list[Problem] = []
        for name, provider in binding.providers.items():
            problems += self._check_provider(project, name, provider)
        for place, secret in binding.secrets().items():
            if not self._installed.has_secret(project, secret):
                problems.append(Problem(place, f"the project has no secret {secret!r}; `tetrad secret set` keeps one"))
        for name, index in binding.indexes.items():
            if index.index and not self._registry.versions(project, "index", index.index, limit=1):
                said = f"the project keeps no index {index.index!r} yet"
                problems.append(Problem(("indexes", name, "index"), said, "warning"))
        for name, server in binding.mcp_servers.items():
            problems += self._check_mcp_server(project, name, server)
        for section in ("indexes", "tools", "mcp_servers"):
            for name, entry in getattr(binding, section).items():
                if warning := _unwise(entry.url):
                    problems.append(Problem((section, name, "url"), warning, "warning"))
        return sorted(problems, key=lambda problem: (problem.severity, problem.path))

    def _check_provider(self, project: str, name: str, entry: ProviderBinding) -> Iterator[Problem]:
        path = ("providers", name)
        if entry.engine:
            served = self._installed.engine_models(entry.engine)
            if served is None:
                yield Problem(
                    (*path, "engine"), f"there is no engine {entry.engine!r}; `tetrad engine list` shows them"
                )
                return
        else:
            served = self._installed.provider_models(project, entry.provider)
            if served is None:
                said = f"the project has no provider {entry.provider!r}; `tetrad provider list` shows them"
                yield Problem((*path, "provider"), said)
                return
        for logical, model in entry.models.items():
            if model not in served:
                known = ", ".join(sorted(served)[:5]) or "none"
                said = f"{entry.provider or entry.engine} has no model {model!r}; it has {known}"
                yield Problem((*path, "models", logical), said)

    def _check_mcp_server(self, project: str, name: str, entry: McpServerBinding) -> Iterator[Problem]:
        path = ("mcp_servers", name)
        if not entry.server:
            said = "the gateway passes on registered MCP servers only; `tetrad mcp add` registers it, `server` names it"
            yield Problem((*path, "url"), said, "warning")
            return
        problem = self._installed.mcp_server_problem(project, entry.server)
        if problem is None:
            said = f"the project has no MCP server {entry.server!r}; `tetrad mcp list` shows them"
            yield Problem((*path, "server"), said)
        elif problem:
            said = f"the MCP server {entry.server!r} cannot be called now: {problem}"
            yield Problem((*path, "server"), said, "warning")

    # -- inside -------------------------------------------------------------------------------------------------

    def _moves(self, project: str, ref: str) -> Iterator[RefEntry]:
        before: int | None = None
        while page := self._registry.ref_log(project, ref, limit=_PAGE, before=before):
            yield from page
            if len(page) < _PAGE:
                return
            before = page[-1].seq

    def _ref(self, project: str, ref: str) -> Ref:
        found = self._registry.find_ref(project, ref)
        if found is None:
            raise self._no_binding(project, *place_of(ref))
        return found

    def _shown(self, project: str, ref: Ref) -> BoundRef:
        try:
            return BoundRef(ref, self._kept(project, ref.digest, ref.name))
        except TetradError as error:
            return BoundRef(ref, None, error.message)

    def _kept(self, project: str, digest: Digest, ref: str) -> KeptBinding:
        return KeptBinding(digest, self._binding(project, digest), self._version(project, ref, digest))

    def _version(self, project: str, ref: str, digest: Digest) -> Version | None:
        """Return the version that names a digest, that of the ref itself where there are several."""
        named = [each for each in self._registry.versions_of(project, digest) if each.kind == KIND]
        own = [each for each in named if each.name == ref.removeprefix(f"{BINDINGS}/")]
        return next(iter(own or named), None)

    def _binding(self, project: str, digest: Digest) -> Binding:
        """Read a binding of the project. It is immutable, so it is read once."""
        key = (project, digest)
        found = self._read.get(key)
        if found is None:
            found = self._load(project, digest)
            with self._lock:
                if len(self._read) >= _CACHED:
                    self._read.pop(next(iter(self._read)))
                self._read[key] = found
        return found

    def _load(self, project: str, digest: Digest) -> Binding:
        try:
            artifact = self._registry.artifact(project, digest)
        except ArtifactNotFound as error:
            raise BindingNotFound(f"the project {project!r} has no binding {digest}", hint=error.hint) from None
        if artifact.kind != KIND:
            raise NotABinding(f"{digest} is a {artifact.kind}, not a binding", hint="check the digest")
        document: dict[str, Any] = self._registry.document(project, digest)
        try:
            return read_binding(document)
        except BadBinding as error:
            raise BindingUnreadable(
                f"the binding {short(digest)} cannot be read: {error.message}", hint="put it again, or roll back"
            ) from None

    @staticmethod
    def _no_binding(project: str, env: str, app: str) -> BindingNotFound:
        where = f"{env}/{app}" if app else env
        return BindingNotFound(
            f"the project {project!r} has no binding {where!r}", hint="`tetrad binding list` shows those it has"
        )


def _unwise(url: str) -> str:
    """Say why an address should not be bound: where clouds keep the credentials of their machines."""
    host = urlsplit(url).hostname or ""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return ""
    if address.is_link_local or address.is_unspecified or address.is_multicast:
        return f"{host} is an address of the machine's own network; clouds keep credentials there"
    return ""
