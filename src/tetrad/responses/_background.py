"""Responses that are answered in the background: begun at once, called by a worker, ended once.

Whatever comes late, an answer after a cancellation or the second of two workers, changes nothing: what a response came
to is written in the transaction that ends it.
"""

from __future__ import annotations

import logging
from datetime import timedelta

import msgspec

from tetrad.kernel import Clock, TetradError
from tetrad.responses._bells import Bells
from tetrad.responses._model import (
    BackgroundAnswer,
    BackgroundRequest,
    BackgroundWork,
    EventBatch,
    EventPage,
    KeptResponse,
    OpenResponse,
    call_body,
    changed,
    state_of,
    turn_items,
)
from tetrad.responses._service import Responses
from tetrad.responses.errors import (
    BadResponse,
    BegunBefore,
    IdempotencyKeyReused,
    NoSuchEvent,
    NotInBackground,
    NotStreamed,
    ResponseKeyGone,
    ResponseNotFound,
    TooManyInBackground,
)
from tetrad.responses.ports import BackgroundJobs, BackgroundKeys, BackgroundStore

log = logging.getLogger(__name__)
_MOST_CALLS = 5
"""So often a call is begun that was cut off: each may have cost something."""
_MESSAGE = 2000
_ANSWERED = frozenset(("completed", "incomplete"))


class Background:
    """Responses in the background, of all projects. Safe to use from many threads."""

    def __init__(
        self,
        responses: Responses,
        store: BackgroundStore,
        jobs: BackgroundJobs,
        keys: BackgroundKeys,
        clock: Clock,
    ) -> None:
        self._responses = responses
        self._store = store
        self._jobs = jobs
        self._keys = keys
        self._clock = clock
        self.bells = Bells()
        """They ring when a response has new events, or has ended."""

    # for clients

    def begin(self, asked: BackgroundRequest) -> KeptResponse:
        """Have a response answered; return it as it is shown until then.

        Asked again by the same idempotency key, it returns the response that was begun the first time, as it stands.
        Raises as `Responses.keep` does, `TooManyInBackground`, `ResponseKeyGone` and `IdempotencyKeyReused`.
        """
        kept, limits = asked.kept, self._responses.limits
        before = self._begun_before(asked)
        if before is not None:
            return before
        lineage = self._responses.admitted(kept)
        self._keys.secret(kept.project, kept.key_id)  # a key that is gone by now begins nothing
        now = self._clock.now()
        try:
            begun = self._store.begin(
                asked,
                lineage=lineage,
                now=now,
                deadline_at=now + timedelta(seconds=limits.background_s),
                expires_at=now + timedelta(days=limits.keep_days),
                most=limits.background_most,
            )
        except BegunBefore:  # at the same time, by the same key
            before = self._begun_before(asked)
            if before is None:
                raise
            return before
        if not begun:
            raise TooManyInBackground(
                f"the project {kept.project!r} has {limits.background_most:,} responses under way in the background",
                hint="wait for one to end, cancel one, or raise TETRAD_RESPONSE_BACKGROUND_MAX",
                retry_after_s=5.0,
            )
        try:
            self._keys.needed(kept.project, kept.key_id)
            self._jobs.start(kept.project, kept.id)
        except TetradError:
            self._responses.drop(kept.project, kept.id)
            raise
        return kept

    def cancel(self, project: str, identity: str) -> KeptResponse:
        """End a response that has not ended, and return it; one that has stays as it is.

        Raises `ResponseNotFound`, and `NotInBackground` for a response that was answered at once.
        """
        kept = self._responses.get(project, identity)
        if not state_of(kept.response).background:
            raise NotInBackground(
                f"the response {identity} is complete: only responses in the background can be cancelled"
            )
        self._settle(kept, changed(kept.response, status="cancelled"))
        return self._responses.get(project, identity)

    def events(self, project: str, identity: str, after: int) -> EventPage:
        """Return the next events of a response after a number, none where there are none yet.

        Raises `ResponseNotFound`, `NoSuchEvent` for a number that was not given yet, and `NotStreamed` for a response
        whose events are not kept, or not any more.
        """
        self.lapse(project, identity)
        kept = self._responses.get(project, identity)
        log = self._store.event_log(project, identity)
        if not log.kept:
            lacked = "stream=true" if state_of(kept.response).background else "background=true and stream=true"
            raise NotStreamed(
                f"the response {identity} cannot be streamed because it was not created with {lacked}",
                hint="retrieve it without 'stream'",
            )
        if log.until is not None and log.until <= self._clock.now():
            raise NotStreamed(
                f"the response {identity} can no longer be streamed: events are kept for "
                f"{self._responses.limits.events_s:,} s after the end",
                hint="retrieve it without 'stream', or raise TETRAD_RESPONSE_EVENTS_S",
            )
        if after >= log.next_number:
            last = "its last one is" if log.over else "its last one so far is"
            raise NoSuchEvent(
                f"the response {identity} has no event {after}: {last} {log.next_number - 1}",
                hint="give the sequence_number of the last event that you have, or leave 'starting_after' out",
            )
        return self._store.events(project, identity, after)

    def dropped(self, project: str, identity: str) -> str:
        """Return the parameters that the upstream was not told, by their names; empty where it was told all."""
        return self._store.dropped(project, identity)

    def lapse(self, project: str, identity: str) -> None:
        """End a response that has had its time; anything else stays as it is."""
        found = self._store.open(project, identity)
        if found is not None:
            self._lapsed(found)

    # for the worker

    def look(self, project: str, identity: str) -> None:
        """Return while a response is to be answered; raises `ResponseNotFound` once it has ended."""
        self._open(project, identity)

    def take(self, project: str, identity: str) -> BackgroundWork:
        """Return what to call for a response, which is in progress from now on.

        Raises `ResponseNotFound` once it has ended: it was cancelled, has had its time, or was begun too often.
        """
        found, secret = self._open(project, identity)
        if found.calls >= _MOST_CALLS:
            self._failed(found, "interrupted", f"the call was cut off {found.calls} times, and is not made again")
            raise _over(identity)
        kept = self._responses.get(project, identity)
        if not self._store.note_call(project, identity, changed(kept.response, status="in_progress")):
            raise _over(identity)
        self.bells.ring(project, identity)
        call, body = found.call, call_body(found.call, kept.input)
        return BackgroundWork(
            id=identity,
            secret=secret,
            deadline_s=found.deadline_s,
            body=body,
            headers=call.headers,
            release=call.release,
            stream=call.stream,
            number=found.calls + 1,
            events=call.events,
        )

    def say(self, project: str, identity: str, batch: EventBatch) -> None:
        """Add what a call said to the events of its response; again, it changes nothing.

        What a call says that is not the newest is not heard. Raises `ResponseNotFound` once the response has ended.
        """
        try:
            shown = self._store.add_events(project, identity, batch, self._responses.limits.event_bytes)
        except (msgspec.MsgspecError, RecursionError) as error:
            raise BadResponse(f"an event of the response {identity} cannot be read: {error}") from None
        if shown is None:
            raise _over(identity)
        if shown:
            self.bells.ring(project, identity)

    def finish(self, project: str, identity: str, answer: BackgroundAnswer) -> None:
        """End a response by what was answered; one that has ended, or is gone, stays so."""
        found = self._store.open(project, identity)
        if found is None:
            return
        if not answer.answered:
            self._failed(found, answer.code or "server_error", answer.message)
            return
        kept = self._responses.get(project, identity)
        try:
            self._answered(found, kept, answer)
        except (msgspec.MsgspecError, RecursionError) as error:
            self._failed(found, "answer_unreadable", f"the answer cannot be read: {error}")

    def tend(self) -> dict[str, int]:
        """See to it that somebody works on all that are under way, and end those that nobody can."""
        begun = ended = 0
        self._store.forget_events(self._clock.now())
        for project, identity in self._store.every_open():
            try:
                found = self._store.open(project, identity)
                if found is None:
                    continue
                if self._lapsed(found):
                    ended += 1
                    continue
                why = self._jobs.ended(identity)
                if why is None:
                    self._keys.needed(project, found.key_id)
                    self._jobs.start(project, identity)
                    begun += 1
                elif why:
                    self._failed(found, "worker_failed", why)
                    ended += 1
            except TetradError as error:
                log.warning("the response %s cannot be seen to: %s", identity, error)
        return {"begun": begun, "ended": ended}

    # inside

    def _begun_before(self, asked: BackgroundRequest) -> KeptResponse | None:
        project = asked.kept.project
        if not asked.idempotency:
            return None
        found = self._store.begun_by(project, asked.kept.key_id, asked.idempotency)
        if found is None:
            return None
        identity, fingerprint = found
        if fingerprint != asked.fingerprint:
            raise IdempotencyKeyReused(
                f"the Idempotency-Key of this request began the response {identity} with another body",
                hint="send the same body again, or a new Idempotency-Key",
            )
        return self._responses.get(project, identity)

    def _open(self, project: str, identity: str) -> tuple[OpenResponse, str]:
        found = self._store.open(project, identity)
        if found is None or self._lapsed(found):
            raise _over(identity)
        try:
            return found, self._keys.secret(project, found.key_id)
        except ResponseKeyGone as error:
            self._failed(found, error.code, error.message)
            raise _over(identity) from None

    def _lapsed(self, found: OpenResponse) -> bool:
        if self._clock.now().timestamp() < found.deadline_s:
            return False
        took = found.deadline_s - found.created_s
        self._failed(found, "deadline_exceeded", f"there was no answer within {took:,} s")
        return True

    def _failed(self, found: OpenResponse, code: str, message: str) -> None:
        kept = self._responses.get(found.project, found.id)
        error = {"code": code, "message": message[:_MESSAGE]}
        self._settle(kept, changed(kept.response, status="failed", error=error))

    def _answered(self, found: OpenResponse, kept: KeptResponse, answer: BackgroundAnswer) -> None:
        response = answer.response
        status = state_of(response).status
        if status not in (*_ANSWERED, "failed"):
            self._failed(found, "answer_unreadable", f"the answer is of the status {status!r}")
            return
        conversation = found.call.conversation
        final = changed(
            response,
            id=kept.id,
            created_at=kept.created_s,
            background=True,
            store=True,
            previous_response_id=kept.previous or None,
        )
        made = msgspec.structs.replace(kept, response=final, upstream=answer.upstream)
        items = turn_items(made)
        most = self._responses.limits.most_bytes
        if made.size > most:
            said = f"the answer has {made.size:,} bytes with its input; at most {most:,} are kept"
            self._failed(found, "response_too_large", said)
            return
        if conversation:
            added = status not in _ANSWERED or self._extended(kept, conversation, items)
            final = changed(final, conversation={"id": conversation} if added else None)
        if not self._settle(made, final, answer.dropped) and conversation:
            self._retract(kept, conversation)

    def _retract(self, kept: KeptResponse, conversation: str) -> None:
        """Take back what was added for a response that was cancelled or deleted in the meantime."""
        try:
            if state_of(self._responses.get(kept.project, kept.id).response).status in _ANSWERED:
                return  # somebody else handed in the same answer
        except ResponseNotFound:
            log.info("the response %s was deleted while its answer came", kept.id)
        self._responses.retract(kept.project, conversation, kept.id)

    def _extended(self, kept: KeptResponse, conversation: str, items: list[bytes]) -> bool:
        try:
            self._responses.extend(kept.project, conversation, kept.id, [msgspec.Raw(item) for item in items])
        except TetradError as error:
            log.warning("the response %s is missing in its conversation: %s", kept.id, error)
            return False
        return True

    def _settle(self, kept: KeptResponse, response: msgspec.Raw, dropped: str = "") -> bool:
        now, limits = self._clock.now(), self._responses.limits
        ended = self._store.settle(
            kept.project,
            kept.id,
            response,
            upstream=kept.upstream,
            now=now,
            expires_at=now + timedelta(days=limits.keep_days),
            events_until=now + timedelta(seconds=limits.events_s),
            dropped=dropped[:_MESSAGE],
        )
        if ended:
            log.info("the response %s is %s", kept.id, state_of(response).status)
        self.bells.ring(kept.project, kept.id)
        return ended


def _over(identity: str) -> ResponseNotFound:
    return ResponseNotFound(f"the response {identity[:80]!r} is not under way")
