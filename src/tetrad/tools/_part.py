"""What one server is asked, and says, where it is one of several."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import msgspec

from tetrad.kit.upstream import Response
from tetrad.serving import KeyEntry
from tetrad.tools._call import Call, Server
from tetrad.tools._combined_words import ACKNOWLEDGED, addressed, owned
from tetrad.tools._exchange import ToolExchange
from tetrad.tools._rpc import Message, read_message
from tetrad.tools._sse import Event, EventReader
from tetrad.tools.errors import SessionUnknown

if TYPE_CHECKING:
    from tetrad.tools._proxy import ToolProxy


class Part(Call):
    """A call of one server as part of a combined one: it opens the combined session, and names whose what is.

    `name` is what the server is called there. `acknowledge` takes in what a server says it honours of a subscription.
    """

    def __init__(
        self,
        proxy: ToolProxy,
        exchange: ToolExchange,
        key: KeyEntry,
        server: Server,
        *,
        name: str,
        session: tuple[str, str] | None,
        label: str,
    ) -> None:
        super().__init__(proxy, exchange, key, server)
        self.exchange = exchange
        self.name = name
        self.given = ""
        self.acknowledge: Callable[[Message], bool] | None = None
        self.resumed = b""
        """Which request a resumed stream answers, as events' ids say it."""
        self._known = session
        self._label = label

    def _open_session(self, given: bytes) -> None:  # noqa: ARG002 - the whole opened it
        if self._known is None:
            if self._exchange.rpc == "initialize":
                return
            raise SessionUnknown(
                f"the MCP server {self.name!r} was not there when the session began",
                hint="begin a new one with `initialize`",
            )
        identity, version = self._known
        self._session, self._exchange.session = identity.encode("ascii"), self._label
        if version:
            self._exchange.protocol = version

    def _answer_headers(self, message: Message, response: Response) -> list[tuple[bytes, bytes]]:
        if message.method == "initialize":
            given = response.header(b"mcp-session-id")
            if given is not None:
                route = self._server.route
                self._proxy.sessions.seal(route.project, route.name, self._key.id, given)  # refuses what is no id
                self.given = given.decode("ascii")
        return self._proxy.own_headers(self._exchange)

    def _take_stream(self) -> None:
        """The whole took one already."""

    def _give_stream(self) -> None:
        """The whole gives it back."""

    def _screened(self, answer: Message, message: Message | None) -> Message:
        screened = super()._screened(answer, message)
        if not bytes(screened.result) or "resources" not in self._server.route.serves:
            return screened
        method = message.method if message is not None else ""
        return msgspec.structs.replace(screened, result=addressed(method, screened.result, self.name))

    def _event(self, event: Event, message: Message | None, *, resumed: bool) -> tuple[Event | None, bool]:
        passed, is_answered = super()._event(event, message, resumed=resumed)
        if passed is None or (resumed and self._is_anothers(passed)):
            return None, is_answered
        name = self.name
        if self._exchange.is_stream and not resumed:
            if is_answered:
                return None, True  # the others' streams go on
            passed = msgspec.structs.replace(passed, id=b"")  # no one position is that of all
        elif passed.id:
            asked = self.resumed if message is None else _bound(message.id)
            passed = msgspec.structs.replace(passed, id=b":".join((name.encode(), asked, passed.id)))
        if not passed.data or is_answered:
            return passed, is_answered
        said = owned(read_message(passed.data), name)
        if said.method == ACKNOWLEDGED and self.acknowledge is not None and self.acknowledge(said):
            return None, False
        return msgspec.structs.replace(passed, data=said.encoded()), False

    def _is_anothers(self, event: Event) -> bool:
        """Tell whether an event answers what the stream was not begun for: that may be another server's to answer."""
        if not event.data:
            return False
        said = read_message(event.data)
        return said.kind == "response" and _bound(said.id) != self.resumed


def _bound(identity: msgspec.Raw) -> bytes:
    """Return the id of a client's request as ids of events hold it; however a text is escaped, it is the same."""
    try:
        plain = msgspec.json.encode(msgspec.json.decode(identity))
    except msgspec.MsgspecError:
        plain = bytes(identity)
    return base64.urlsafe_b64encode(plain).rstrip(b"=")


class Heard:
    """A reply that keeps the answer, and nothing else of a stream."""

    def __init__(self, most_bytes: int) -> None:
        self._reader = EventReader(most_bytes)
        self.answer: Message | None = None

    async def whole(self, status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes) -> None:  # noqa: ARG002 - as replies are
        """Take in an answer that is complete."""
        self.answer = read_message(body) if body else None

    async def begin(self, status: int, headers: Sequence[tuple[bytes, bytes]]) -> None:
        """Take in the head of a stream, which says nothing."""

    async def write(self, piece: bytes) -> None:
        """Take in a piece of a stream."""
        for event in self._reader.feed(piece):
            if event.data and (said := read_message(event.data)).kind == "response":
                self.answer = said

    async def end(self, piece: bytes) -> None:
        """Take in the last piece."""
        await self.write(piece)
