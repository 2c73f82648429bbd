"""Events that differ in nothing but a piece of text, as nearly all of a stream do: seen without being read one by one.

An upstream writes its events by one form. What stands before and after the text of one of them stands in the next ones
too; where it does, and the text between holds no mark of quotation, such an event says what the first one said with
another text: its kind, its number and its end were looked at in the first. Reading each of them took half the time of a
stream. (Slices are compared and patterns matched here rather than `find` and `startswith` called with places, whose
arguments CPython 3.11 takes apart by a format; and nothing is split at a long separator, which is prepared for anew for
each piece: both cost several times the search.)
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

import msgspec

from tetrad.kernel import UNREADABLE

_MOST_FORMS = 16
"""So many forms are learnt in one stream: one that changes its form all the time has none."""
_MOST_AFTER = 4096
_BLANK, _QUOTE = b' "'
_FILLERS = (b'"obfuscation":"', b'"obfuscation": "')
"""OpenAI fills its events up with letters, so that their size does not tell what they say; Anthropic with blanks."""
_LETTERS, _BLANKS = rb"[0-9A-Za-z]*+", rb" *+"
_TEXT = rb'[^"\r\n]*+(?<!\\)'
"""What ends before a mark of quotation that is not its own."""
_text = re.compile(_TEXT).fullmatch


class Form:
    """What stands around the text of one event."""

    __slots__ = ("_after", "_after_size", "_before", "_before_size", "_filled")

    def __init__(self, before: bytes, after: bytes, end: bytes) -> None:
        self._before, self._before_size = before, len(before)
        self._after, self._after_size = after + end, len(after) + len(end)
        self._filled: re.Pattern[bytes] | None = None
        """What follows `before`, where the event is filled up between `after` and `end`."""
        if end:
            filler = _LETTERS if end.startswith(b'"') else _BLANKS
            self._filled = re.compile(rb"(%b)%b%b%b" % (_TEXT, re.escape(after), filler, re.escape(end)))

    def text(self, event: bytes) -> bytes | None:
        """Return the text, as JSON writes it, of one event of this form; None where these bytes are anything else."""
        size = self._before_size
        if event[:size] != self._before:
            return None
        if self._filled is not None:
            match = self._filled.fullmatch(event, size)
            return match[1] if match is not None else None
        cut = self._after_size
        text = event[size:-cut]
        return text if event[-cut:] == self._after and _text(text) is not None else None

    def event(self, text: bytes) -> bytes:
        """Return the event of this form, not filled up, that says this text."""
        return self._before + text + self._after


def form_of(event: bytes, names: Iterable[bytes], text: bytes | None = None) -> Form | None:
    """Return the form of one event whose text is the value of one of these names; None where that is not certain.

    Where `text` is given, the form is of the event that says it.
    """
    if event.count(b"data:") != 1:  # of several lines, or a text that names one
        return None
    for name in names:
        start = event.find(name)
        if start < 0 or event.count(name) > 1:  # what is said twice: the last counts, or it belongs to something else
            continue
        start += len(name)
        start += event[start : start + 1] == b" "
        if event[start : start + 1] != b'"':
            continue
        start += 1
        stop = event.find(b'"', start)
        said, after = event[start:stop], event[stop:].removesuffix(b"\n\n")
        if stop < 0 or not said or said.endswith(b"\\") or len(after) > _MOST_AFTER:
            continue
        if after.find(b"\\") >= 0 or event.find(b"\\", 0, start) >= 0:
            continue  # a name may be written in another way
        if after.find(b"\n") >= 0 or event.find(b"\r") >= 0 or event.find(b"\n\n", 0, start) >= 0:
            continue  # more than one event
        if event.startswith(b"data:", event.rfind(b"\n", 0, start) + 1) and (text is None or said == text):
            return Form(event[:start], *_cut(after, event[stop + len(after) :]))
    return None


def _cut(after: bytes, end: bytes) -> tuple[bytes, bytes]:
    """Return what stands before and after what fills an event up."""
    for filler in _FILLERS:
        at = after.find(filler)
        if at >= 0:
            at += len(filler)
            return after[:at], after[after.find(b'"', at) :] + end
    inner = after.removesuffix(b"}").rstrip(b" ")
    if inner.endswith(b"}"):
        return inner, b"}" + end
    return after + end, b""


class Runs:
    """Gathers the texts of events of one form, to read them together."""

    def __init__(self) -> None:
        self._form: Form | None = None
        self._left = _MOST_FORMS
        self._texts: list[bytes] = []

    def take(self, event: bytes) -> bool:
        """Take an event, without the blank line behind it, if it is of the form that was learnt last."""
        if self._form is None:
            return False
        text = self._form.text(event)
        if text is None:
            return False
        self._texts.append(text)
        return True

    def learn(self, event: bytes, name: bytes, text: str) -> None:
        """Learn the form of an event that says nothing but this text, as the value of `name`."""
        self._left -= 1
        self._form = form_of(event, (name,), text.encode()) if self._left >= 0 else None

    def said(self) -> tuple[str, Iterator[bytes]]:
        """Return what the events taken say together; where one of them cannot be read, "" and all of them."""
        texts, self._texts = self._texts, []
        form = self._form
        try:
            return msgspec.json.decode(b'"%b"' % b"".join(texts), type=str), iter(())
        except UNREADABLE:
            self._form, self._left = None, 0
            return "", map(form.event, texts) if form is not None else iter(())

    def __bool__(self) -> bool:
        return bool(self._texts)
