"""What people call a release: its digest, its first digits, a ref, a ref as it was."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tetrad.kernel import Digest, InvalidInput, parse_digest, short
from tetrad.registry import RefEntry, RefNotFound
from tetrad.releases.errors import ReleaseNotFound

if TYPE_CHECKING:
    from tetrad.releases._service import Releases

MAX_SEARCHED = 10_000
_PAGE = 500
_DIGITS = re.compile(r"[0-9a-f]{4,63}")
_MOVE = re.compile(r"-?[1-9]\d{0,8}")


def find_release(releases: Releases, project: str, text: str, *, app: str = "") -> Digest:
    """Return the digest that a name means, or raise `ReleaseNotFound`, `RefNotFound`, or `InvalidInput` for no name.

    `sha256:…` is a digest; `APP/REF` is where a ref points; `APP/REF@3` is where its third move brought it;
    `APP/REF@-1` is where it pointed one move ago; `3f2a91` are first digits, looked for among the releases of `app`.
    """
    if "/" in text:
        path, at, number = text.partition("@")
        of_app, _, ref = path.partition("/")
        return _moved_to(releases, project, of_app, ref, number) if at else releases.ref(project, of_app, ref).digest
    digits = text.removeprefix("sha256:")
    if len(digits) == 64:
        return releases.release(project, parse_digest(f"sha256:{digits}")).digest
    if not _DIGITS.fullmatch(digits):
        raise InvalidInput(
            f"{text[:80]!r} names no release",
            hint="write APP/REF, APP/REF@3 for its third move, a digest, or its first digits",
        )
    if not app:
        raise InvalidInput(f"{text!r} is only the beginning of a digest", hint="name the app too, or the whole digest")
    return _begins(releases, project, app, digits)


def _begins(releases: Releases, project: str, app: str, digits: str) -> Digest:
    found: list[Digest] = []
    before: int | None = None
    seen = 0
    while seen < MAX_SEARCHED and (page := releases.releases(project, app, limit=_PAGE, before=before)):
        found += [version.digest for version in page if version.digest.removeprefix("sha256:").startswith(digits)]
        seen, before = seen + len(page), page[-1].seq
    unique = sorted(set(found))
    if len(unique) == 1:
        return unique[0]
    which = f"{len(unique)} releases of {app!r} begin" if unique else f"no release of {app!r} begins"
    raise ReleaseNotFound(f"{which} with {digits!r}", hint=f"`tetrad release list {app}` shows them; give more digits")


def _moved_to(releases: Releases, project: str, app: str, ref: str, number: str) -> Digest:
    if not _MOVE.fullmatch(number):
        raise InvalidInput(
            f"{number[:20]!r} is no move of a ref", hint="@1 is its first move, @-1 where it pointed before its last"
        )
    wanted = int(number)
    moves = [entry.new for entry in walk_moves(releases, project, app, ref) if entry.new is not None]  # newest first
    index = len(moves) - wanted if wanted > 0 else -wanted
    if not 0 <= index < len(moves):
        raise RefNotFound(
            f"the ref {app}/{ref} has no move @{number}; it has moved {len(moves)} times",
            hint=f"`tetrad ref log {app}/{ref}` shows its moves",
        )
    return moves[index]


def walk_moves(releases: Releases, project: str, app: str, ref: str) -> Iterator[RefEntry]:
    """Yield the moves of a ref, newest first, a page at a time; none where there is no such ref."""
    before: int | None = None
    while page := releases.history(project, app, ref, limit=_PAGE, before=before):
        yield from page
        if len(page) < _PAGE:
            return
        before = page[-1].seq


def listed(digests: list[Digest]) -> str:
    """Name a few digests for a hint."""
    shown = ", ".join(short(digest) for digest in digests[:5])
    return f"{shown}, …" if len(digests) > 5 else shown or "none"
