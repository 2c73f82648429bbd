"""One registry for everything that strangers may add: a closed list of kinds, each with a contract.

An extension is a class or function, declared where it is written and found by an entry point of the group
`tetrad.extensions` named `<kind>.<name>`:

    @extension("provider", "acme")
    class AcmeProvider: ...

    [project.entry-points."tetrad.extensions"]
    "provider.acme" = "acme_tetrad:AcmeProvider"

Ours register the same way. Nothing is imported before it is asked for, and what was imported is checked at the door.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import inspect
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from tetrad.kernel import Conflict, InvalidInput, MissingExtra, NotFound, TetradError

GROUP = "tetrad.extensions"
T = TypeVar("T")
_NAME = re.compile(r"[a-z][a-z0-9]*([_-][a-z0-9]+)*")


class UnknownExtension(NotFound):
    """No extension has that name."""

    code = "unknown_extension"


class BadExtension(TetradError):
    """An extension does not keep its kind's contract, or cannot be imported."""

    code = "bad_extension"


class DuplicateExtension(Conflict):
    """Two packages claim one name."""

    code = "duplicate_extension"


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of extension: what it is called, what it promises, what it is for.

    `contract` is a Protocol or base class that the extension itself (a class) fulfils, or a Protocol with `__call__`
    that it (a function) matches.
    """

    name: str
    contract: type
    summary: str


@dataclass(frozen=True, slots=True)
class Found:
    """Where an extension comes from: `package` is the distribution, or the module that declared it."""

    kind: str
    name: str
    target: str
    package: str
    extra: str


@dataclass(frozen=True, slots=True)
class _Mark:
    kind: str
    name: str
    extra: str


_declared: dict[tuple[str, str], tuple[Found, object]] = {}


def extension(kind: str, name: str, *, extra: str = "") -> Callable[[T], T]:
    """Declare a class or function to be an extension; it counts from the moment its module is imported.

    `extra` names what to install where its vendor's package is absent.
    """
    if not _NAME.fullmatch(name) or not _NAME.fullmatch(kind):
        raise InvalidInput(f"{kind}.{name} is no name of an extension", hint="lower-case letters, digits, - and _")

    def declare(target: T) -> T:
        where = f"{getattr(target, '__module__', '?')}:{getattr(target, '__qualname__', '?')}"
        found = Found(kind, name, where, where.partition(":")[0].partition(".")[0], extra)
        earlier = _declared.get((kind, name))
        if earlier is not None and earlier[0].target != where:
            raise _duplicate(earlier[0], found)
        _declared[kind, name] = (found, target)
        target.__tetrad_extension__ = _Mark(kind, name, extra)  # type: ignore[attr-defined]
        return target

    return declare


class Extensions:
    """The extensions of this installation. Make one per process, with the kinds that the process knows."""

    def __init__(
        self, kinds: Iterable[Kind], *, entry_points: Iterable[importlib.metadata.EntryPoint] | None = None
    ) -> None:
        self.kinds: Mapping[str, Kind] = {kind.name: kind for kind in kinds}
        self._given = None if entry_points is None else tuple(entry_points)
        self._points: dict[tuple[str, str], tuple[Found, importlib.metadata.EntryPoint]] | None = None
        self._loaded: dict[tuple[str, str], object] = {}

    def list(self, kind: str | None = None) -> tuple[Found, ...]:
        """Return what is there, by kind and name, without importing any of it."""
        if kind is not None:
            self._kind(kind)
        everything = {key: found for key, (found, _) in self._installed().items()}
        everything |= {key: found for key, (found, _) in _declared.items() if key[0] in self.kinds}
        return tuple(found for key, found in sorted(everything.items()) if kind in (None, key[0]))

    def load(self, kind: str, name: str) -> Any:
        """Import an extension, check it against its kind's contract, and return it.

        Raises `UnknownExtension` with the known names, `MissingExtra` with the line that installs what it needs,
        `BadExtension` where it breaks its contract or its import fails, `DuplicateExtension` where two claim the name.
        """
        contract = self._kind(kind).contract
        key = (kind, name)
        if key not in self._loaded:
            if key in _declared:
                found, target = _declared[key]
            elif key in self._installed():
                found, point = self._installed()[key]
                target = _imported(found, point)
            else:
                raise self._unknown(kind, name)
            problems = list(_problems(contract, target, kind, name))
            if problems:
                raise BadExtension(
                    f"the {kind} {name!r} ({found.target}, from {found.package}) is not a {contract.__name__}: "
                    + "; ".join(problems),
                    hint=f"update {found.package}, or remove it",
                )
            self._loaded[key] = target
        return self._loaded[key]

    def _kind(self, kind: str) -> Kind:
        if kind not in self.kinds:
            raise InvalidInput(
                f"{kind!r} is no kind of extension", code="unknown_kind", hint=f"kinds: {', '.join(sorted(self.kinds))}"
            )
        return self.kinds[kind]

    def _unknown(self, kind: str, name: str) -> UnknownExtension:
        import difflib

        known = [found.name for found in self.list(kind)]
        close = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known) or 'none'}"
        return UnknownExtension(f"there is no {kind} {name!r}", hint=hint)

    def _installed(self) -> dict[tuple[str, str], tuple[Found, importlib.metadata.EntryPoint]]:
        if self._points is None:
            points = importlib.metadata.entry_points(group=GROUP) if self._given is None else self._given
            found: dict[tuple[str, str], tuple[Found, importlib.metadata.EntryPoint]] = {}
            for point in points:
                entry = _read(point)
                key = (entry.kind, entry.name)
                if key in found and found[key][0].target != entry.target:
                    raise _duplicate(found[key][0], entry)
                found[key] = (entry, point)
            self._points = {key: value for key, value in found.items() if key[0] in self.kinds}
        return self._points


def _read(point: importlib.metadata.EntryPoint) -> Found:
    kind, dot, name = point.name.partition(".")
    package = point.dist.name if point.dist is not None else point.value.partition(":")[0]
    if not dot or not _NAME.fullmatch(name):
        raise BadExtension(
            f"{package} declares the entry point {point.name!r} in {GROUP}",
            hint="name it <kind>.<name>, such as provider.acme",
        )
    extras = tuple(point.extras)
    return Found(kind, name, point.value.partition("[")[0].strip(), package, extras[0] if extras else "")


def _imported(found: Found, point: importlib.metadata.EntryPoint) -> object:
    try:
        target: object = importlib.import_module(point.module)
        for part in filter(None, point.attr.split(".")):
            target = getattr(target, part)
    except MissingExtra:
        raise
    except ImportError as error:
        if found.extra:
            raise MissingExtra(f"The {found.kind} {found.name!r}", found.extra) from error
        raise BadExtension(
            f"the {found.kind} {found.name!r} cannot be imported: {error}", hint=f"reinstall {found.package}"
        ) from error
    except Exception as error:
        raise BadExtension(
            f"the {found.kind} {found.name!r} failed while it was imported: {type(error).__name__}: {error}",
            hint=f"update {found.package}, or remove it",
        ) from error
    return target


def _problems(contract: type, target: object, kind: str, name: str) -> Iterator[str]:
    mark = getattr(target, "__tetrad_extension__", None)
    if isinstance(mark, _Mark) and (mark.kind, mark.name) != (kind, name):
        yield f"it declares itself to be {mark.kind}.{mark.name}"
    if not getattr(contract, "_is_protocol", False):
        if not (isinstance(target, type) and issubclass(target, contract)):
            yield f"it is no subclass of {contract.__name__}"
        return
    members, kept = _members(contract), _annotated(target)
    if set(members) == {"__call__"}:
        if callable(target):
            yield from _mismatch("it", members["__call__"], target, skip_self=False)
        else:
            yield "it cannot be called"
        return
    for member, promised in members.items():
        given = getattr(target, member, None)
        if given is None and member not in kept:
            yield f"it has no {member}"
        elif inspect.isfunction(promised):
            if callable(given):
                yield from _mismatch(f"{member}()", promised, given, skip_self=isinstance(target, type))
            else:
                yield f"{member} cannot be called"


def _members(contract: type) -> dict[str, object]:
    """Collect what a Protocol and the Protocols it extends promise."""
    found: dict[str, object] = {}
    for base in reversed(contract.__mro__):
        if base in (object, Protocol) or not getattr(base, "_is_protocol", False):
            continue
        names = [*vars(base), *_own_annotations(base)]
        found |= {n: vars(base).get(n) for n in names if n == "__call__" or not n.startswith("_")}
    if set(found) - {"__call__"}:
        found.pop("__call__", None)
    return found


def _annotated(target: object) -> set[str]:
    """Collect what the instances of a class will have, as its own body and those of its bases say."""
    return {name for base in getattr(target, "__mro__", ()) for name in _own_annotations(base)}


if sys.version_info >= (3, 14):  # annotations are evaluated when asked for: what they name may exist for checkers only
    import annotationlib

    def _own_annotations(owner: type) -> Iterable[str]:
        return annotationlib.get_annotations(owner, format=annotationlib.Format.STRING)

    def _signature(given: Any) -> inspect.Signature:
        return inspect.signature(given, annotation_format=annotationlib.Format.STRING)
else:

    def _own_annotations(owner: type) -> Iterable[str]:
        return inspect.get_annotations(owner)

    def _signature(given: Any) -> inspect.Signature:
        return inspect.signature(given)


def _mismatch(label: str, promised: object, given: Any, *, skip_self: bool) -> Iterator[str]:
    """Name the parameters by which callers of the contract could not call what was given."""
    wanted = [p for p in _signature(promised).parameters.values() if p.name != "self"]
    try:
        offered = list(_signature(given).parameters.values())
    except (TypeError, ValueError):
        return  # built in, without a signature
    if skip_self and offered and not isinstance(given, (classmethod, staticmethod)) and offered[0].name == "self":
        offered = offered[1:]
    names = {p.name for p in offered}
    any_keyword = any(p.kind is p.VAR_KEYWORD for p in offered)
    any_position = any(p.kind is p.VAR_POSITIONAL for p in offered)
    for parameter in wanted:
        if parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL) or parameter.name in names:
            continue
        if not (any_keyword and parameter.kind is not parameter.POSITIONAL_ONLY) and not any_position:
            yield f"{label} takes no {parameter.name}"
    known = {p.name for p in wanted}
    for parameter in offered:
        nameable = parameter.kind in (parameter.KEYWORD_ONLY, parameter.POSITIONAL_OR_KEYWORD)
        if nameable and parameter.default is parameter.empty and parameter.name not in known:
            yield f"{label} demands {parameter.name}, which nobody will give"


def _duplicate(first: Found, second: Found) -> DuplicateExtension:
    return DuplicateExtension(
        f"the {first.kind} {first.name!r} is claimed by {first.target} (from {first.package}) and by {second.target} "
        f"(from {second.package})",
        hint=f"remove {first.package} or {second.package}, or rename one of the two",
    )
