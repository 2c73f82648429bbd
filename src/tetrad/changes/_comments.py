"""Talk about a change request: threads on lines of prompts, on rows of data, on the whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec

from tetrad.changes._model import (
    ENDED,
    Anchor,
    ChangeRequest,
    Comment,
    Edited,
    Happening,
    Place,
    lines_of,
    part_in,
    replaced,
)
from tetrad.changes._patch import Patches
from tetrad.changes.errors import BadChange, CommentNotFound, NotYours, TooManyChanges, WrongState
from tetrad.changes.ports import ChangeStore, CommentStep
from tetrad.datasets import Datasets
from tetrad.kernel import Clock, Digest, NotFound, Principal, canonical_json, new_id, parse_digest
from tetrad.prompts import PromptSpec, prompt_from_document
from tetrad.registry import Registry

if TYPE_CHECKING:
    from tetrad.changes._service import Changes

MAX_BODY_CHARS: Final = 10_000
MAX_EDITS: Final = 20
MAX_TOTAL_CHARS: Final = 2_000_000
"""Of all comments on one change request, with what they said before."""
MAX_QUOTE_CHARS: Final = 500


class Thread(msgspec.Struct, frozen=True):
    """A comment and its answers, oldest first, and where what it is about is now (None: it is about the whole)."""

    comments: tuple[Comment, ...]
    place: Place | None

    @property
    def first(self) -> Comment:
        """The comment that the thread begins with: it is anchored and resolved."""
        return self.comments[0]


class Comments:
    """Comments on change requests. Text is kept as it was given; it is never markup. Safe to use from many threads."""

    def __init__(
        self, changes: Changes, store: ChangeStore, registry: Registry, datasets: Datasets, patches: Patches,
        clock: Clock, *, most: int,
    ) -> None:  # fmt: skip
        self._changes = changes
        self._store = store
        self._registry = registry
        self._datasets = datasets
        self._patches = patches
        self._clock = clock
        self._most = most

    def add(
        self, project: str, number: int, body: str, *, actor: Principal, anchor: Anchor | None = None,
        reply_to: str = "", key: str = "",
    ) -> Thread:  # fmt: skip
        """Say something about a line, a row or the whole, or answer in a thread; the same `key` again says it once."""
        request = self._open(self._changes.get(project, number))
        text = _body(body)
        if anchor is not None and reply_to:
            raise BadChange("an answer is where its thread is", hint="leave the anchor out")
        placed = self._placed(request, anchor) if anchor is not None else None
        made = new_id("cmt")
        chosen: list[str] = []

        def decide(current: ChangeRequest, known: Sequence[Comment]) -> CommentStep | None:
            self._open(current)
            said = next((each for each in known if key and (each.key, each.author) == (key, actor.id)), None)
            if said is not None:
                chosen.append(said.thread)
                return None
            if len(known) >= self._most:
                raise TooManyChanges(f"change request #{number} has {len(known)} comments", hint="open another one")
            if reply_to and not any(each.id == each.thread == reply_to for each in known):
                raise _no_comment(number, reply_to)
            _check_total(known, text, number)
            chosen.append(reply_to or made)
            comment = Comment(
                made, reply_to or made, actor.id, actor.name[:256], self._clock.now(), text, current.revision, placed,
                key,
            )  # fmt: skip
            return CommentStep(comment, self._happening(actor, "commented", comment=made, thread=comment.thread))

        self._store.comment(project, number, decide)
        return self.thread(project, number, chosen[-1])

    def edit(self, project: str, number: int, comment: str, body: str, *, actor: Principal) -> Thread:
        """Say one's own comment anew; what it said stays in its history."""
        self._changes.get(project, number)
        text = _body(body)
        chosen: list[str] = []

        def decide(current: ChangeRequest, known: Sequence[Comment]) -> CommentStep | None:
            self._open(current)
            found = _find(known, number, comment)
            if found.author != actor.id:
                raise NotYours(f"the comment is {found.author_name}'s", hint="answer it")
            chosen.append(found.thread)
            if found.body == text:
                return None
            if len(found.history) >= MAX_EDITS:
                raise TooManyChanges(f"the comment was edited {MAX_EDITS} times", hint="write another one")
            _check_total(known, text, number)
            now = self._clock.now()
            history = (*found.history, Edited(found.body, now))
            return CommentStep(
                msgspec.structs.replace(found, body=text, history=history, edited_at=now),
                self._happening(actor, "comment_edited", comment=found.id),
            )

        self._store.comment(project, number, decide)
        return self.thread(project, number, chosen[-1])

    def resolve(self, project: str, number: int, thread: str, *, actor: Principal, resolved: bool = True) -> Thread:
        """Say that a thread is settled, or that it is not; saying it again changes nothing."""
        self._changes.get(project, number)

        def decide(current: ChangeRequest, known: Sequence[Comment]) -> CommentStep | None:
            self._open(current)
            found = _find(known, number, thread)
            if found.id != found.thread:
                raise _no_comment(number, thread)
            if (found.resolved_at is not None) == resolved:
                return None
            after = msgspec.structs.replace(
                found, resolved_at=self._clock.now() if resolved else None, resolved_by=actor.id if resolved else "",
                resolved_by_name=actor.name[:256] if resolved else "",
            )  # fmt: skip
            kind = "thread_resolved" if resolved else "thread_reopened"
            return CommentStep(after, self._happening(actor, kind, thread=found.id))

        self._store.comment(project, number, decide)
        return self.thread(project, number, thread)

    def thread(self, project: str, number: int, thread: str) -> Thread:
        """Return one thread, or raise `CommentNotFound`."""
        for found in self.threads(project, number):
            if found.first.id == thread:
                return found
        raise _no_comment(number, thread)

    def threads(self, project: str, number: int) -> list[Thread]:
        """Return all threads, oldest first, each with where its line or row is in the present candidate."""
        request = self._changes.get(project, number)
        by_thread: dict[str, list[Comment]] = {}
        for comment in self._store.comments(project, number):
            by_thread.setdefault(comment.thread, []).append(comment)
        firsts = [next(each for each in found if each.id == each.thread) for found in by_thread.values()]
        places = self._places(request, [each.anchor for each in firsts])
        return [
            Thread((first, *(each for each in by_thread[first.thread] if each is not first)), place)
            for first, place in zip(firsts, places, strict=True)
        ]

    # -- anchors ------------------------------------------------------------------------------------------------

    def _placed(self, request: ChangeRequest, anchor: Anchor) -> Anchor:
        """Return an anchor with what is there, or refuse one that is about nothing of the base or the candidate."""
        digest = parse_digest(anchor.digest)
        if anchor.part.partition(".")[0] != {"prompt": "prompt", "row": "data"}[anchor.kind]:
            raise BadChange(f"{anchor.part[:80]!r} has no {anchor.kind}", hint="lines are of prompts, rows of data")
        sides = (self._changes.manifest(request), self._changes.base_manifest(request))
        find = _entries(anchor.part)
        entry = next((each for side in sides for each in find(side) if each["digest"] == digest), None)
        if entry is None:
            raise BadChange(
                f"{anchor.part[:80]} is not {digest} here", hint="name a part as the base or the candidate pins it"
            )
        if anchor.kind == "prompt":
            messages = self._messages(request, entry["name"], digest)
            if not 1 <= anchor.message <= len(messages):
                raise BadChange(f"the prompt has {len(messages)} messages", hint="they count from 1")
            lines = lines_of(messages[anchor.message - 1])
            if not 1 <= anchor.line <= len(lines):
                raise BadChange(f"the message has {len(lines)} lines", hint="they count from 1")
            quote = lines[anchor.line - 1][:MAX_QUOTE_CHARS]
            return msgspec.structs.replace(anchor, digest=digest, quote=quote, content=digest)
        row = self._row(request, entry, anchor.row)
        if row is None:
            raise BadChange(f"the dataset has no row {anchor.row[:80]!r}", hint="name a row by its key")
        quote = canonical_json(dict(row[1])).decode("utf-8")[:MAX_QUOTE_CHARS]
        return msgspec.structs.replace(anchor, digest=digest, quote=quote, content=row[0])

    def _places(self, request: ChangeRequest, anchors: Sequence[Anchor | None]) -> list[Place | None]:
        if not any(anchors):
            return [None for _ in anchors]
        manifest = self._changes.manifest(request)
        messages: dict[tuple[str, str], tuple[str, ...]] = {}

        def said(name: str, digest: str) -> tuple[str, ...]:
            if (name, digest) not in messages:
                messages[name, digest] = self._messages(request, name, Digest(digest))
            return messages[name, digest]

        return [None if anchor is None else self._place(request, manifest, anchor, said) for anchor in anchors]

    def _place(self, request: ChangeRequest, manifest: Mapping[str, Any], anchor: Anchor, said: Any) -> Place:
        entries = _entries(anchor.part)(manifest)
        if any(entry["digest"] == anchor.digest for entry in entries):
            return Place("current", anchor.message, anchor.line)
        if len(entries) != 1:
            return Place("outdated")
        if anchor.kind == "prompt":
            try:
                return replaced(
                    anchor.message, anchor.line, said("", anchor.digest),
                    said(entries[0]["name"], entries[0]["digest"]),
                )  # fmt: skip
            except NotFound:  # the text of a draft that was never kept
                return Place("outdated")
        row = self._row(request, entries[0], anchor.row)
        return Place("current" if row is not None and row[0] == anchor.content else "outdated")

    def _row(self, request: ChangeRequest, entry: Mapping[str, Any], key: str) -> tuple[str, Mapping[str, Any]] | None:
        version = self._datasets.by_digest(request.project, entry["digest"], entry["order"])
        found = self._datasets.row(version, key)
        return None if found is None else (found.digest, found.value)

    def _messages(self, request: ChangeRequest, name: str, digest: Digest) -> tuple[str, ...]:
        """Return the texts of a prompt's messages: of one that is kept, or of one that a revision gives as text."""
        try:
            document = self._registry.document(request.project, digest)
        except NotFound:
            spec = self._drafted(request, digest)
            if spec is None:
                raise
            return tuple(message.text for message in spec.messages)
        return tuple(message.text for message in prompt_from_document(name or "prompt", document).messages)

    def _drafted(self, request: ChangeRequest, digest: Digest) -> PromptSpec | None:
        """Find the prompt in what was pushed, the newest first: a draft's texts are kept nowhere else."""
        for number in range(request.revision, 0, -1):
            revision = self._store.revision(request.project, request.number, number)
            for each in revision.patch if revision else ():
                if each.content is None:
                    continue
                spec = self._patches.spec(request.project, each, reason=request.title, outcome=request.expected_outcome)
                if spec.digest == digest:
                    return spec
        return None

    # -- inside -------------------------------------------------------------------------------------------------

    @staticmethod
    def _open(request: ChangeRequest) -> ChangeRequest:
        if request.state in ENDED:
            raise WrongState(f"change request #{request.number} is {request.state}", hint="open another one")
        return request

    def _happening(self, actor: Principal, kind: str, **detail: Any) -> Happening:
        return Happening(kind, actor.id, actor.name[:256], self._clock.now(), detail)


def _entries(part: str) -> Any:
    """Return what finds all entries of a part in a manifest, `prompt.system` or `data.fewshot/NAME`."""
    kind, _, rest = part.partition(".")
    if kind not in ("prompt", "data") or not rest:
        raise BadChange(f"{part[:80]!r} has no lines or rows", hint="comment on prompt.ROLE, data.ROLE, or the whole")

    def find(manifest: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        found = part_in(manifest, part)
        return [] if found is None else found if isinstance(found, list) else [found]

    return find


def _find(known: Sequence[Comment], number: int, comment: str) -> Comment:
    found = next((each for each in known if each.id == comment), None)
    if found is None:
        raise _no_comment(number, comment)
    return found


def _check_total(known: Sequence[Comment], text: str, number: int) -> None:
    said = sum(len(each.body) + sum(len(earlier.body) for earlier in each.history) for each in known)
    if said + len(text) > MAX_TOTAL_CHARS:
        raise TooManyChanges(
            f"the comments on change request #{number} have {said} characters", hint="open another change request"
        )


def _no_comment(number: int, comment: str) -> CommentNotFound:
    return CommentNotFound(
        f"change request #{number} has no comment {comment[:64]!r}", hint=f"`tetrad change comments {number}`"
    )


def _body(text: str) -> str:
    if not text.strip() or len(text) > MAX_BODY_CHARS:
        raise BadChange("a comment says something", hint=f"1 to {MAX_BODY_CHARS} characters")
    canonical_json(text)
    return text
