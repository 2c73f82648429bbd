"""What a caller saw before it asked for a change: `If-Match` with a digest, or `If-None-Match: *`."""

from __future__ import annotations

from typing import Annotated

import msgspec
from fastapi import Depends, Header

from tetrad.kernel import Digest, InvalidInput, parse_digest, precondition_required


class Precondition(msgspec.Struct, frozen=True):
    """Where something points as far as the caller knows: to `digest`, or nowhere yet with `create`."""

    digest: Digest | None = None
    create: bool = False

    def required(self, what: str, *, new: str = "") -> None:
        """Raise `Conflict` (428) where the caller said nothing of `what`; `new` names what may be made."""
        if self.digest is None and not self.create:
            raise precondition_required(what, new=new)


def unquoted(etag: str | None) -> Digest | None:
    """Return the digest that an entity tag, strong or weak, quotes."""
    return None if etag is None else parse_digest(etag.strip().removeprefix("W/").strip('"'))


def _read(
    if_match: Annotated[str | None, Header(max_length=80, description="The digest that the caller saw")] = None,
    if_none_match: Annotated[str | None, Header(max_length=80, description="`*` for what is new")] = None,
) -> Precondition:
    if if_none_match not in (None, "*"):
        raise InvalidInput("If-None-Match is `*` or absent", hint="send If-None-Match: * for what is new")
    return Precondition(unquoted(if_match), if_none_match == "*")


Expected = Annotated[Precondition, Depends(_read)]
"""Both headers, read."""
