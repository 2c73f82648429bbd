"""The parts of a message in chat completions, read once for all who say them in other words.

What differs between upstreams is what they can be told: a part of a kind that is none of theirs is lost, by its path.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from typing import Any

import msgspec

from tetrad.serving.translation._saying import Losses, as_list, as_object, as_text

_DATA_URL = re.compile(r"data:([A-Za-z0-9.+/-]+)(?:;[a-z0-9=._-]+)*;base64,")


class Text(msgspec.Struct, frozen=True):
    """What is written, or refused."""

    path: str
    text: str
    item: dict[str, Any]


class Media(msgspec.Struct, frozen=True):
    """A picture (`image_url`), a sound (`input_audio`) or a file (`file`): `data` in base64, or a `url`.

    `place` is the path of what holds the address, `file` the object of a file. `form` is a type of media, of a sound
    the word for it. A file without data has neither.
    """

    path: str
    kind: str
    item: dict[str, Any]
    place: str
    form: str = ""
    data: str | None = None
    url: str | None = None
    file: dict[str, Any] = {}


Part = Text | Media


def chat_parts(
    message: dict[str, Any], path: str, losses: Losses, *, media: Collection[str] = (), marks: Collection[str] = ()
) -> Iterator[Part]:
    """Yield the parts of a message's content; those of kinds of media that are not wanted are lost.

    `marks` are fields of a part that the upstream can be told as they are. Raises `RequestRefused` for what is
    malformed.
    """
    content = message.get("content")
    if isinstance(content, str):
        yield Text(path, content, {})
        return
    for number, item in enumerate(as_list(content, f"{path}.content")):
        place = f"{path}.content[{number}]"
        part = as_object(item, place)
        kind = part.get("type")
        if kind in ("text", "refusal"):
            losses.rest(part, ("type", kind, *marks), place)
            yield Text(place, as_text(part.get(kind), f"{place}.{kind}"), part)
        elif isinstance(kind, str) and kind in media:
            yield _READERS[kind](part, place, losses)
        else:
            losses.lose(place)


def _image(part: dict[str, Any], path: str, losses: Losses) -> Media:
    image = part.get("image_url")
    image = {"url": image} if isinstance(image, str) else as_object(image, f"{path}.image_url")
    losses.rest(image, ("url", *(("detail",) if image.get("detail") == "auto" else ())), f"{path}.image_url")
    place = f"{path}.image_url.url"
    return _addressed("image_url", part, path, place, as_text(image.get("url"), place))


def _sound(part: dict[str, Any], path: str, losses: Losses) -> Media:  # noqa: ARG001 - as the others
    place = f"{path}.input_audio"
    sound = as_object(part.get("input_audio"), place)
    form, data = as_text(sound.get("format"), f"{place}.format"), as_text(sound.get("data"), f"{place}.data")
    return Media(path, "input_audio", part, f"{place}.data", form, data)


def _file(part: dict[str, Any], path: str, losses: Losses) -> Media:  # noqa: ARG001 - who can be told what differs
    file = as_object(part.get("file"), f"{path}.file")
    place, data = f"{path}.file.file_data", file.get("file_data")
    if not isinstance(data, str):
        return Media(path, "file", part, place, file=file)
    return msgspec.structs.replace(_addressed("file", part, path, place, data), file=file)


def _addressed(kind: str, part: dict[str, Any], path: str, place: str, url: str) -> Media:
    found = _DATA_URL.match(url)
    if found is None:
        return Media(path, kind, part, place, url=url)
    return Media(path, kind, part, place, found.group(1), url[found.end() :])


_READERS = {"image_url": _image, "input_audio": _sound, "file": _file}
