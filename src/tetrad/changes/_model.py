"""Change requests: frozen values, the state machine, and what reviews are still about. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from difflib import SequenceMatcher
from typing import Any, Final, Literal, get_args

import msgspec

from tetrad.changes.errors import WrongState
from tetrad.kernel import Digest, canonical_json

State = Literal["draft", "open", "approved", "changes_requested", "merged", "closed"]
Event = Literal[
    "propose", "push", "rebase", "approve", "request_changes", "withdraw", "merge", "merge_by_broken_glass", "close"
]
Decision = Literal["approve", "request_changes"]
Standing = Literal["open", "approved", "changes_requested"]
STATES: Final[tuple[State, ...]] = get_args(State)
LIVE: Final[frozenset[State]] = frozenset({"open", "approved", "changes_requested"})
ENDED: Final[frozenset[State]] = frozenset({"merged", "closed"})


class PartPatch(msgspec.Struct, frozen=True):
    """One part and what it becomes: a reference or JSON value, or the text of a prompt file under a name.

    Where `content` is None, `value` None takes the part away.
    """

    part: str
    value: Any = None
    content: str | None = None
    name: str = ""


class ChangedPart(msgspec.Struct, frozen=True):
    """A part of the candidate that the base does not have. `seal` covers all that the manifest says of it.

    `pins` are the artifacts that it rests on: its own, or what a prompt that was given as text includes.
    """

    kind: str
    role: str
    name: str
    label: str
    seal: str
    pins: tuple[Digest, ...] = ()


class Revision(msgspec.Struct, frozen=True):
    """One push or rebase: the whole patch, the release that it was put on, and the one that came of it.

    `parts` are those that the patch names. In lists of revisions the patch itself is left out: its texts are long.
    """

    number: int
    kind: Literal["push", "rebase"]
    base: Digest
    candidate: Digest
    parts: tuple[str, ...]
    patch: tuple[PartPatch, ...]
    changed: tuple[ChangedPart, ...]
    notes: tuple[str, ...]
    at: datetime
    by: str
    by_name: str
    note: str = ""

    def rests_on(self, *, kept: bool) -> frozenset[Digest]:
        """Return the artifacts that it needs; the candidate is one of them where it is `kept`, as no draft's is."""
        pins = frozenset(pin for part in self.changed for pin in part.pins)
        return pins | {self.base, *([self.candidate] if kept else [])}


class Review(msgspec.Struct, frozen=True):
    """A judgement of parts, by their seals. `own`: of one's own work, which the ref's policy allowed then."""

    sequence: int
    actor: str
    actor_name: str
    role: str
    decision: Decision
    comment: str
    revision: int
    seals: tuple[str, ...]
    parts: tuple[str, ...]
    evidence: str
    at: datetime
    own: bool = False


class Happening(msgspec.Struct, frozen=True):
    """An entry of the history; `sequence` 0 until the store numbers it."""

    kind: str
    actor: str
    actor_name: str
    at: datetime
    detail: Mapping[str, Any] = {}
    sequence: int = 0


class Merge(msgspec.Struct, frozen=True):
    """How it was merged."""

    at: datetime
    by: str
    by_name: str
    old: Digest
    new: Digest
    reason: str = ""
    broke_glass: bool = False


class ChangeRequest(msgspec.Struct, frozen=True):
    """A patch of parts that is proposed for `app/ref`. `authors` are the ids of all who pushed a revision.

    `base`, `candidate` and `revision` are those of the newest revision. `number` 0: not numbered yet.
    """

    project: str
    number: int
    app: str
    ref: str
    title: str
    description: str
    expected_outcome: str
    state: State
    author: str
    author_name: str
    created_at: datetime
    updated_at: datetime
    revision: int
    base: Digest
    candidate: Digest
    authors: tuple[str, ...]
    parts: tuple[str, ...]
    key: str = ""
    merge: Merge | None = None
    closed_reason: str = ""

    @property
    def ref_name(self) -> str:
        """The ref as the registry names it: `assistant/production`."""
        return f"{self.app}/{self.ref}"


# -- states -----------------------------------------------------------------------------------------------------------

_FROM: Final[Mapping[Event, frozenset[State]]] = {
    "propose": frozenset({"draft"}),
    "push": LIVE | {"draft"},
    "rebase": LIVE | {"draft"},
    "approve": LIVE,
    "request_changes": LIVE,
    "withdraw": LIVE,
    "merge": frozenset({"open", "approved"}),
    "merge_by_broken_glass": LIVE,
    "close": LIVE | {"draft"},
}
_TO: Final[Mapping[Event, State]] = {
    "withdraw": "draft",
    "merge": "merged",
    "merge_by_broken_glass": "merged",
    "close": "closed",
}


def allows(state: State, event: Event) -> bool:
    """Tell whether an event may happen in a state."""
    return state in _FROM[event]


def next_state(state: State, event: Event, standing: Standing, *, number: int = 0) -> State:
    """Return the state after an event; `standing` is what the reviews say of the candidate after it.

    Raises `WrongState` where the event may not happen. Merged and closed are final.
    """
    if not allows(state, event):
        raise WrongState(f"change request #{number} {_IS[state]}: it cannot be {_DONE[event]}", hint=_HINT[state])
    if event in _TO:
        return _TO[event]
    return "draft" if state == "draft" and event != "propose" else standing


_DONE: Final[Mapping[Event, str]] = {
    "propose": "proposed", "push": "pushed to", "rebase": "rebased", "approve": "approved",
    "request_changes": "sent back", "withdraw": "withdrawn", "merge": "merged", "merge_by_broken_glass": "merged",
    "close": "closed",
}  # fmt: skip
_IS: Final[Mapping[State, str]] = {
    "draft": "is a draft", "open": "is open", "approved": "is approved", "changes_requested": "was sent back",
    "merged": "is merged", "closed": "is closed",
}  # fmt: skip
_HINT: Final[Mapping[State, str]] = {
    "draft": "propose it first: `tetrad change propose`",
    "open": "it is proposed already",
    "approved": "it is proposed already",
    "changes_requested": "push what was asked for, or have who asked for it approve",
    "merged": "open another one; what was merged is taken back by `tetrad rollback`",
    "closed": "open another one",
}


# -- reviews ----------------------------------------------------------------------------------------------------------


def judgements(reviews: Iterable[Review], authors: Iterable[str]) -> dict[tuple[str, str], Review]:
    """Return the judgement that holds of each (seal, actor): the newest one; approvals of authors do not count.

    A rejection counts whoever it is by, as in a gate; its author lifts it by approving.
    """
    makers = frozenset(authors)
    newest: dict[tuple[str, str], Review] = {}
    for review in sorted(reviews, key=lambda each: each.sequence):
        for seal in review.seals:
            newest[seal, review.actor] = review
    return {
        key: review
        for key, review in newest.items()
        if review.decision == "request_changes" or review.own or review.actor not in makers
    }


def standing(seals: Iterable[str], reviews: Iterable[Review], authors: Iterable[str]) -> Standing:
    """Say what the reviews come to for a candidate that changes the parts with these seals.

    Approved: each changed part is approved by somebody who is no author, and none is rejected.
    """
    wanted = frozenset(seals)
    held = {key: review for key, review in judgements(reviews, authors).items() if key[0] in wanted}
    if any(review.decision == "request_changes" for review in held.values()):
        return "changes_requested"
    approved = {seal for (seal, _), review in held.items() if review.decision == "approve"}
    return "approved" if wanted and wanted <= approved else "open"


def coverage(review: Review, seals: Iterable[str]) -> Literal["all", "some", "none"]:
    """Say of how many of the parts that a review judged the candidate still holds exactly that."""
    kept = frozenset(review.seals) & frozenset(seals)
    return "none" if not kept else "all" if kept == frozenset(review.seals) else "some"


# -- parts ------------------------------------------------------------------------------------------------------------


def part_in(manifest: Mapping[str, Any], part: str) -> Any:
    """Return what a manifest says of the part that a patch names (`prompt.system`, `sampling.seed`), None for nothing.

    Several parts in one role are told apart by `/NAME`; without it they are returned as a list.
    """
    key, _, name = part.partition("/")
    kind, _, role = key.partition(".")
    if kind == "sampling":
        sampling = manifest["graph"][0]["sampling"]
        return {"value": sampling[role]} if role in sampling else None
    held = [entry for entry in manifest[kind] if entry["role"] == role and name in ("", entry["name"])]
    return held[0] if len(held) == 1 else held or None


def same_part(one: Any, other: Any) -> bool:
    """Tell whether two manifests say the same of a part."""
    return canonical_json(one) == canonical_json(other)


def say_part(entry: Any) -> str:
    """Say for people what a manifest says of a part."""
    if entry is None:
        return "nothing"
    if isinstance(entry, list):
        return ", ".join(say_part(each) for each in entry)
    if "value" in entry:
        return canonical_json(entry["value"]).decode("utf-8")
    label = entry.get("semver") or str(entry.get("digest", ""))[:19]
    return f"{entry.get('name', '')}@{label}"


# -- comments ---------------------------------------------------------------------------------------------------------


class Anchor(msgspec.Struct, frozen=True):
    """What a comment is about: a line of a message of a prompt, or a row of a dataset; `quote` is what it said.

    Places and lines count from 1. `content` is the digest of the row, or of the prompt.
    """

    kind: Literal["prompt", "row"]
    part: str
    digest: Digest
    message: int = 0
    line: int = 0
    row: str = ""
    quote: str = ""
    content: str = ""


class Edited(msgspec.Struct, frozen=True):
    """What a comment said until it was edited."""

    body: str
    until: datetime


class Comment(msgspec.Struct, frozen=True):
    """A comment; `thread` is the id of the first of its thread. Only the first one is anchored and resolved."""

    id: str
    thread: str
    author: str
    author_name: str
    at: datetime
    body: str
    revision: int
    anchor: Anchor | None = None
    key: str = ""
    history: tuple[Edited, ...] = ()
    edited_at: datetime | None = None
    resolved_at: datetime | None = None
    resolved_by: str = ""
    resolved_by_name: str = ""


class Place(msgspec.Struct, frozen=True):
    """Where an anchor is in the present candidate."""

    state: Literal["current", "moved", "outdated"]
    message: int = 0
    line: int = 0


def lines_of(text: str) -> list[str]:
    """Split a message into the lines that anchors count."""
    return text.split("\n")


def replaced(message: int, line: int, old: Sequence[str], new: Sequence[str]) -> Place:
    """Find the line of a message (both from 1) of an old prompt in a new one, given as their messages' texts.

    All lines of both are aligned as one text each, so that a line is found in a message that moved too. What changed
    is outdated: a line that merely looks the same elsewhere is not taken for it.
    """
    before, after = ([(m, n, text) for m, each in enumerate(side, 1) for n, text in enumerate(lines_of(each), 1)]
                     for side in (old, new))  # fmt: skip
    at = next((index for index, (m, n, _) in enumerate(before) if (m, n) == (message, line)), None)
    if at is None:
        return Place("outdated")
    matcher = SequenceMatcher(None, [text for _, _, text in before], [text for _, _, text in after], autojunk=False)
    for block in matcher.get_matching_blocks():
        if block.a <= at < block.a + block.size:
            to_message, to_line, _ = after[block.b + at - block.a]
            same = (to_message, to_line) == (message, line)
            return Place("current" if same else "moved", to_message, to_line)
    return Place("outdated")
