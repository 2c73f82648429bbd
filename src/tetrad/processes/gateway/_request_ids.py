"""The id of a request, where clients look for it: calls have that of their trace, pages one of their own."""

from __future__ import annotations

from collections.abc import Mapping

from tetrad.kernel import new_trace_id
from tetrad.processes.gateway._elsewhere import dialect_of


def id_header(identity: str, dialect: str) -> tuple[bytes, bytes]:
    """Return the header in which the official clients of a protocol look for the id of a request."""
    return b"request-id" if dialect == "anthropic" else b"x-request-id", identity.encode()


class RequestId:
    """The id of one request for a page, by which control, where it is asked, knows it too."""

    __slots__ = ("dialect", "header", "text")

    def __init__(self, path: str, headers: Mapping[bytes, bytes]) -> None:
        self.dialect = dialect_of(path, headers)
        self.text = new_trace_id()
        self.header = id_header(self.text, self.dialect)
