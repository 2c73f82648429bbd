"""Keep responses, and put conversations together again."""

from __future__ import annotations

from datetime import timedelta

import msgspec

from tetrad.kernel import Clock
from tetrad.responses._model import (
    ID,
    Conversation,
    ItemPage,
    KeptResponse,
    ResponseLimits,
    joined,
    named_items,
    turn_items,
)
from tetrad.responses.errors import BadResponse, ResponseNotFound, ResponseTooLarge, TooManyResponses
from tetrad.responses.ports import ResponseStore

_SWEPT_PER_KEEP = 20


class Responses:
    """Responses of all projects; every look-up names the project. Safe to use from many threads."""

    def __init__(self, store: ResponseStore, clock: Clock, limits: ResponseLimits | None = None) -> None:
        self._store = store
        self._clock = clock
        self.limits = limits or ResponseLimits()

    def keep(self, kept: KeptResponse) -> bool:
        """Keep a response; again, it changes nothing. Tells whether it is new.

        Raises `ResponseNotFound` where the turn before it is gone, and errors of limits.
        """
        if not ID.fullmatch(kept.id):
            raise BadResponse(f"{kept.id[:80]!r} cannot be the id of a response")
        try:
            turn_items(kept)
        except msgspec.MsgspecError as error:
            raise BadResponse(f"the response {kept.id} cannot be read: {error}") from None
        if kept.size > self.limits.most_bytes:
            raise ResponseTooLarge(
                f"the response {kept.id} has {kept.size:,} bytes; at most {self.limits.most_bytes:,} are kept",
                hint="send store: false, or raise TETRAD_RESPONSE_MAX_BYTES",
            )
        now = self._clock.now()
        lineage: tuple[str, ...] = ()
        if kept.previous:
            lineage = (*self._lineage(kept.project, kept.previous), kept.previous)
            if len(lineage) >= self.limits.most_turns:
                raise ResponseTooLarge(
                    f"the conversation of {kept.previous} has {len(lineage)} turns",
                    hint="begin a new one, with a summary of this one",
                )
        self._store.sweep(now, _SWEPT_PER_KEEP)
        if self._store.count(kept.project) >= self.limits.most:
            raise TooManyResponses(
                f"the project {kept.project!r} keeps {self.limits.most:,} responses",
                hint="delete some, keep them for fewer days, or raise TETRAD_RESPONSE_MAX",
            )
        return self._store.put(kept, lineage, now + timedelta(days=self.limits.keep_days))

    def get(self, project: str, identity: str) -> KeptResponse:
        """Return a response; raises `ResponseNotFound`."""
        found = self._store.find(project, [identity], self._clock.now()).get(identity)
        if found is None:
            raise _missing(project, identity)
        return found

    def conversation(self, project: str, identity: str) -> Conversation:
        """Return everything up to and with a response; raises `ResponseNotFound` where any turn of it is gone."""
        turns = self._turns(project, identity)
        items = [item for turn in turns for item in turn_items(turn)]
        return Conversation(joined(items), turns[-1].upstream, turns[-1].native)

    def input_items(self, project: str, identity: str, *, limit: int, after: str, newest_first: bool) -> ItemPage:
        """Return a page of what a response was an answer to, the turns before it included."""
        turns = self._turns(project, identity)
        own = msgspec.structs.replace(turns[-1], response=msgspec.Raw(b"{}"))
        items = named_items([item for turn in (*turns[:-1], own) for item in turn_items(turn)], identity)
        if newest_first:
            items.reverse()
        if after:
            places = [number for number, item in enumerate(items) if item["id"] == after]
            if not places:
                raise ResponseNotFound(f"the response {identity} has no item {after[:80]!r}")
            items = items[places[0] + 1 :]
        page = items[:limit]
        return ItemPage(
            page, page[0]["id"] if page else None, page[-1]["id"] if page else None, has_more=len(items) > limit
        )

    def drop(self, project: str, identity: str) -> None:
        """Forget a response, and with it the conversations that go on from it; raises `ResponseNotFound`."""
        if not self._store.drop(project, identity, self._clock.now()):
            raise _missing(project, identity)

    def _lineage(self, project: str, identity: str) -> tuple[str, ...]:
        found = self._store.lineage(project, identity, self._clock.now())
        if found is None:
            raise _missing(project, identity)
        return found

    def _turns(self, project: str, identity: str) -> list[KeptResponse]:
        wanted = (*self._lineage(project, identity), identity)
        found = self._store.find(project, wanted, self._clock.now())
        for each in wanted:
            if each not in found:
                raise ResponseNotFound(
                    f"the response {each} is gone, from which the conversation of {identity} goes on",
                    hint="send the whole conversation as `input`",
                )
        size = sum(turn.size for turn in found.values())
        if size > self.limits.conversation_bytes:
            raise ResponseTooLarge(
                f"the conversation of {identity} has {size:,} bytes; the most is {self.limits.conversation_bytes:,}",
                hint="begin a new one, with a summary of this one",
            )
        return [found[each] for each in wanted]


def _missing(project: str, identity: str) -> ResponseNotFound:
    return ResponseNotFound(
        f"the project {project!r} keeps no response {identity[:80]!r}",
        hint="it was deleted, has expired, or was made with store: false",
    )
