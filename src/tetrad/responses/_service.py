"""Keep responses, and put conversations together again."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import msgspec

from tetrad.kernel import Clock, uuid7
from tetrad.responses._model import (
    ID,
    Conversation,
    ItemPage,
    KeptConversation,
    KeptResponse,
    ResponseLimits,
    joined,
    named_items,
    new_items,
    state_of,
    turn_items,
)
from tetrad.responses.errors import (
    BadResponse,
    ConversationNotFound,
    ResponseNotComplete,
    ResponseNotFound,
    ResponseTooLarge,
    TooManyResponses,
)
from tetrad.responses.ports import ResponseStore

_SWEPT_PER_KEEP = 20
_ITEMS_PER_CALL = 20


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
        lineage = self.admitted(kept)
        return self._store.put(kept, lineage, self._end())

    def admitted(self, kept: KeptResponse) -> tuple[str, ...]:
        """Return the turns before a response that may be kept; raises as `keep` does where it may not."""
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
        return lineage

    def get(self, project: str, identity: str) -> KeptResponse:
        """Return a response; raises `ResponseNotFound`."""
        found = self._store.find(project, [identity], self._clock.now()).get(identity)
        if found is None:
            raise _missing(project, identity)
        return found

    def conversation(self, project: str, identity: str) -> Conversation:
        """Return everything up to and with a response; raises `ResponseNotFound` where any turn of it is gone."""
        turns = self._turns(project, identity)
        _refuse_unanswered(turns[-1])
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

    # conversations that clients name

    def begin(self, project: str, metadata: dict[str, str], items: list[msgspec.Raw]) -> KeptConversation:
        """Make a conversation, with its first items."""
        now = self._clock.now()
        self._store.sweep(now, _SWEPT_PER_KEEP)
        if self._store.count_conversations(project) >= self.limits.most:
            raise TooManyResponses(
                f"the project {project!r} keeps {self.limits.most:,} conversations",
                hint="delete some, keep them for fewer days, or raise TETRAD_RESPONSE_MAX",
            )
        made = KeptConversation(f"conv_{uuid7().hex}", project, int(now.timestamp()), _checked(metadata))
        named = _named(items)
        self._store.put_conversation(made, self._end())
        if named:
            try:
                self._append(project, made.id, named, "")
            except ResponseTooLarge:
                self._store.drop_conversation(project, made.id, now)
                raise
        return made

    def talk(self, project: str, identity: str) -> KeptConversation:
        """Return a conversation; raises `ConversationNotFound`."""
        found = self._store.conversation(project, identity, self._clock.now())
        if found is None:
            raise _no_talk(project, identity)
        return found

    def rename(self, project: str, identity: str, metadata: dict[str, str]) -> KeptConversation:
        """Give a conversation other metadata."""
        changed = msgspec.structs.replace(self.talk(project, identity), metadata=_checked(metadata))
        self._store.put_conversation(changed, self._end())
        return changed

    def end_talk(self, project: str, identity: str) -> None:
        """Forget a conversation with its items; raises `ConversationNotFound`."""
        if not self._store.drop_conversation(project, identity, self._clock.now()):
            raise _no_talk(project, identity)

    def add(self, project: str, identity: str, items: list[msgspec.Raw]) -> ItemPage:
        """Add items, and return them as they are kept."""
        if not 1 <= len(items) <= _ITEMS_PER_CALL:
            raise BadResponse(f"{len(items)} items are given", hint=f"from 1 to {_ITEMS_PER_CALL} at a time")
        named = _named(items)
        self._append(project, identity, named, "")
        return _page(named_items([item for _, item in named], identity), len(named))

    def extend(self, project: str, identity: str, response: str, items: list[msgspec.Raw]) -> None:
        """Add what a response added, its input and its output; again, it changes nothing."""
        self._append(project, identity, _named(items), response)

    def retract(self, project: str, identity: str, response: str) -> None:
        """Take back what a response added to a conversation; nothing where it added nothing."""
        self._store.retract(project, identity, response)

    def said(self, project: str, identity: str) -> Conversation:
        """Return everything that a conversation holds; raises `ConversationNotFound`."""
        self.talk(project, identity)
        return Conversation(joined([item for _, item in self._store.conversation_items(project, identity)]))

    def items(self, project: str, identity: str, *, limit: int, after: str, newest_first: bool) -> ItemPage:
        """Return a page of a conversation's items."""
        self.talk(project, identity)
        found = self._store.conversation_items(project, identity)
        if newest_first:
            found.reverse()
        if after:
            places = [number for number, (name, _) in enumerate(found) if name == after]
            if not places:
                raise ConversationNotFound(f"the conversation {identity} has no item {after[:80]!r}")
            found = found[places[0] + 1 :]
        return _page(named_items([item for _, item in found[: limit + 1]], identity), limit)

    def item(self, project: str, identity: str, item: str) -> bytes:
        """Return an item of a conversation; raises `ConversationNotFound`."""
        self.talk(project, identity)
        for name, found in self._store.conversation_items(project, identity):
            if name == item:
                return msgspec.json.encode(named_items([found], identity)[0])
        raise ConversationNotFound(f"the conversation {identity} has no item {item[:80]!r}")

    def drop_item(self, project: str, identity: str, item: str) -> KeptConversation:
        """Forget an item; raises `ConversationNotFound`."""
        found = self.talk(project, identity)
        if not self._store.drop_item(project, identity, item):
            raise ConversationNotFound(f"the conversation {identity} has no item {item[:80]!r}")
        return found

    def _append(self, project: str, identity: str, named: list[tuple[str, bytes]], source: str) -> None:
        added = self._store.append(
            project,
            identity,
            named,
            source=source,
            most=self.limits.most_items,
            most_bytes=self.limits.conversation_bytes,
            expires_at=self._end(),
            now=self._clock.now(),
        )
        if added is None:
            raise _no_talk(project, identity)
        if not added:
            raise ResponseTooLarge(
                f"the conversation {identity} would have more than {self.limits.most_items:,} items, or more than "
                f"{self.limits.conversation_bytes:,} bytes",
                hint="begin a new one, with a summary of this one",
            )

    def _end(self) -> datetime:
        return self._clock.now() + timedelta(days=self.limits.keep_days)

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


def _refuse_unanswered(kept: KeptResponse) -> None:
    state = state_of(kept.response)
    if state.open:
        raise ResponseNotComplete(
            f"the response {kept.id} is {state.status}: it cannot be gone on from yet",
            hint="retrieve it until its status is `completed`",
        )
    if state.status in ("failed", "cancelled"):
        raise ResponseNotComplete(
            f"the response {kept.id} is {state.status}: there is nothing to go on from",
            hint="go on from the response before it, or ask again",
        )


def _page(items: list[dict[str, Any]], limit: int) -> ItemPage:
    page = items[:limit]
    return ItemPage(
        page, page[0]["id"] if page else None, page[-1]["id"] if page else None, has_more=len(items) > limit
    )


def _named(items: list[msgspec.Raw]) -> list[tuple[str, bytes]]:
    try:
        named = new_items(items)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise BadResponse(f"an item of the conversation cannot be read: {error}") from None
    if len({name for name, _ in named}) != len(named):
        raise BadResponse("two items have the same id", hint="leave ids out: items get new ones")
    return named


def _checked(metadata: dict[str, str]) -> dict[str, str]:
    if len(metadata) > 16 or any(len(name) > 64 or len(value) > 512 for name, value in metadata.items()):
        raise BadResponse("the metadata is too large", hint="at most 16, names of 64 and values of 512 characters")
    return metadata


def _no_talk(project: str, identity: str) -> ConversationNotFound:
    return ConversationNotFound(
        f"the project {project!r} keeps no conversation {identity[:80]!r}", hint="it was deleted, or has expired"
    )


def _missing(project: str, identity: str) -> ResponseNotFound:
    return ResponseNotFound(
        f"the project {project!r} keeps no response {identity[:80]!r}",
        hint="it was deleted, has expired, or was made with store: false",
    )
