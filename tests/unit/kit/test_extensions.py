"""Strangers' extensions are found by name, imported late, and checked at the door."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Protocol

import pytest

from tetrad.kernel import InvalidInput, MissingExtra
from tetrad.kit import extensions
from tetrad.kit.extensions import (
    BadExtension,
    DuplicateExtension,
    Extensions,
    Kind,
    UnknownExtension,
    extension,
)


class Greeter(Protocol):
    """What greets."""

    language: str

    def greet(self, name: str, *, loudly: bool = False) -> str: ...


class Opener(Protocol):
    """A function that opens."""

    def __call__(self, url: str) -> object: ...


class Base:
    """A class to inherit from."""


KINDS = (Kind("greeter", Greeter, "greets"), Kind("opener", Opener, "opens"), Kind("base", Base, "inherits"))


@pytest.fixture(autouse=True)
def _forget_declarations() -> Iterator[None]:
    before = dict(extensions._declared)
    yield
    extensions._declared.clear()
    extensions._declared.update(before)


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Lend a module file that entry points may name; whether it was imported can be told."""
    monkeypatch.syspath_prepend(tmp_path)
    path = tmp_path / "stranger_package.py"
    path.write_text(
        "class Good:\n    language = 'en'\n    def greet(self, name, *, loudly=False): return name\n"
        "class Silent:\n    language = 'en'\n"
        "class Wordy:\n    language = 'en'\n    def greet(self, name, loudly, mood): return name\n"
        "class Deaf:\n    language = 'en'\n    def greet(self, name): return name\n"
        "class Open:\n    language = 'en'\n    def greet(self, *args, **options): return ''\n"
        "def opens(url): return url\n"
        "def opens_more(url, retries): return url\n"
        "NOT_CALLABLE = 3\n"
    )
    yield path
    for name in ("stranger_package", "stranger_broken"):
        sys.modules.pop(name, None)


def points(**targets: str) -> list[EntryPoint]:
    return [EntryPoint(name.replace("__", "."), value, extensions.GROUP) for name, value in targets.items()]


def test_nothing_is_imported_before_it_is_asked_for(module: Path) -> None:
    known = Extensions(KINDS, entry_points=points(greeter__good="stranger_package:Good"))
    assert [(found.kind, found.name, found.package) for found in known.list()] == [
        ("greeter", "good", "stranger_package")
    ]
    assert "stranger_package" not in sys.modules
    assert known.load("greeter", "good")().greet("you") == "you"
    assert known.load("greeter", "good") is known.load("greeter", "good")


def test_what_is_declared_in_code_counts_at_once() -> None:
    @extension("greeter", "polite")
    class Polite:
        language = "en"

        def greet(self, name: str, *, loudly: bool = False) -> str:
            return f"good day, {name}"

    known = Extensions(KINDS, entry_points=[])
    assert known.load("greeter", "polite") is Polite
    assert [found.name for found in known.list("greeter")] == ["polite"]


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("Silent", "it has no greet"),
        ("Wordy", "greet() demands mood"),
        ("Deaf", "greet() takes no loudly"),
        ("NOT_CALLABLE", "it has no greet"),
    ],
)
def test_an_extension_that_breaks_its_contract_is_refused_with_the_reason(module: Path, target: str, said: str) -> None:
    known = Extensions(KINDS, entry_points=points(greeter__x=f"stranger_package:{target}"))
    with pytest.raises(BadExtension) as caught:
        known.load("greeter", "x")
    assert said in caught.value.message
    assert f"stranger_package:{target}" in caught.value.message
    assert "stranger_package" in caught.value.hint


def test_any_signature_that_callers_can_use_is_accepted(module: Path) -> None:
    assert Extensions(KINDS, entry_points=points(greeter__x="stranger_package:Open")).load("greeter", "x")


@pytest.mark.parametrize("target", ["Typed", "Heir"])
def test_what_an_extension_says_of_its_attributes_is_believed_and_never_evaluated(module: Path, target: str) -> None:
    future = "from __future__ import annotations\n" if sys.version_info < (3, 14) else ""  # 3.14 needs no such line
    module.write_text(
        f"{future}from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    from nowhere import Language, Name\n"
        "class Typed:\n    language: Language | None\n"
        "    def greet(self, name: Name, *, loudly: bool = False) -> Name: return name\n"
        "class Heir(Typed):\n    mood: Name\n"
    )
    assert Extensions(KINDS, entry_points=points(greeter__x=f"stranger_package:{target}")).load("greeter", "x")


def test_functions_and_subclasses_are_checked_too(module: Path) -> None:
    known = Extensions(
        KINDS,
        entry_points=points(
            opener__good="stranger_package:opens",
            opener__bad="stranger_package:opens_more",
            opener__worse="stranger_package:NOT_CALLABLE",
            base__bad="stranger_package:Good",
        ),
    )
    assert known.load("opener", "good")("u") == "u"
    for kind, name, said in (
        ("opener", "bad", "demands retries"),
        ("opener", "worse", "cannot be called"),
        ("base", "bad", "no subclass of Base"),
    ):
        with pytest.raises(BadExtension) as caught:
            known.load(kind, name)
        assert said in caught.value.message


def test_an_unknown_name_is_refused_with_the_nearest_one(module: Path) -> None:
    known = Extensions(KINDS, entry_points=points(greeter__good="stranger_package:Good"))
    with pytest.raises(UnknownExtension) as caught:
        known.load("greeter", "goood")
    assert caught.value.hint == "did you mean 'good'?"
    with pytest.raises(UnknownExtension) as caught:
        known.load("greeter", "zzz")
    assert caught.value.hint == "known: good"


def test_the_list_of_kinds_is_closed(module: Path) -> None:
    known = Extensions(KINDS, entry_points=points(plugin__x="stranger_package:Good"))
    assert known.list() == ()
    with pytest.raises(InvalidInput, match="'plugin' is no kind") as caught:
        known.load("plugin", "x")
    assert "greeter" in caught.value.hint


def test_two_who_claim_one_name_are_both_named(module: Path) -> None:
    two = [
        EntryPoint("greeter.x", "stranger_package:Good", extensions.GROUP),
        EntryPoint("greeter.x", "stranger_package:Open", extensions.GROUP),
    ]
    with pytest.raises(DuplicateExtension) as caught:
        Extensions(KINDS, entry_points=two).list()
    assert "stranger_package:Good" in caught.value.message
    assert "stranger_package:Open" in caught.value.message

    @extension("base", "x")
    class First(Base):
        pass

    with pytest.raises(DuplicateExtension):

        @extension("base", "x")
        class Second(Base):
            pass


def test_the_same_entry_point_seen_twice_is_one(module: Path) -> None:
    same = points(greeter__x="stranger_package:Good") * 2
    assert len(Extensions(KINDS, entry_points=same).list()) == 1


def test_a_missing_vendor_package_prints_the_line_that_installs_it(module: Path) -> None:
    (module.parent / "stranger_broken.py").write_text("import vendor_that_is_not_installed\n")
    known = Extensions(KINDS, entry_points=points(opener__s3="stranger_broken:opens [s3]"))
    with pytest.raises(MissingExtra) as caught:
        known.load("opener", "s3")
    assert caught.value.hint == "pip install 'tetrad[s3]'"
    bare = Extensions(KINDS, entry_points=points(opener__s3="stranger_broken:opens"))
    with pytest.raises(BadExtension, match="vendor_that_is_not_installed"):
        bare.load("opener", "s3")


def test_an_import_that_fails_in_any_way_is_reported_not_raised(module: Path) -> None:
    (module.parent / "stranger_broken.py").write_text("raise ZeroDivisionError('at import')\n")
    known = Extensions(KINDS, entry_points=points(opener__x="stranger_broken:opens"))
    with pytest.raises(BadExtension, match="ZeroDivisionError: at import"):
        known.load("opener", "x")


def test_an_extension_under_another_name_than_its_own_is_refused() -> None:
    @extension("base", "mine")
    class Mine(Base):
        pass

    globals()["Mine"] = Mine
    known = Extensions(KINDS, entry_points=points(base__other=f"{__name__}:Mine"))
    sys.modules.setdefault(__name__, sys.modules[Mine.__module__])
    with pytest.raises(BadExtension, match=r"declares itself to be base\.mine"):
        known.load("base", "other")


@pytest.mark.parametrize("name", ["Bad", "with space", "", "ünicode", "a.b"])
def test_a_name_that_could_not_be_typed_is_refused(name: str) -> None:
    with pytest.raises(InvalidInput):
        extension("base", name)


def test_a_malformed_entry_point_names_its_package() -> None:
    with pytest.raises(BadExtension, match="nodot"):
        Extensions(KINDS, entry_points=points(nodot="stranger_package:Good")).list()
