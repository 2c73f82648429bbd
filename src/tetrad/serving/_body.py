"""Request bodies: looked at as little as possible, changed by splicing bytes.

A long prompt is never decoded: the top level of the body is read into slices (`msgspec.Raw`), a few small ones are
looked into, and the messages of a release are put before the client's by joining bytes (at 37 KB: a quarter of the
time of a round trip through dicts).
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from tetrad.serving._operations import Operation
from tetrad.serving.errors import RequestRefused

Fields = dict[str, msgspec.Raw]

_fields = msgspec.json.Decoder(Fields)
_text = msgspec.json.Decoder(str)
_flag = msgspec.json.Decoder(bool | None)
_object = msgspec.json.Decoder(dict[str, msgspec.Raw] | None)
_values = msgspec.json.Decoder(dict[str, Any])
_EMPTY_ARRAY = re.compile(rb"\[\s*\]")
VARIABLES_KEY = "tetrad.variables"
MAX_LABEL_CHARS = 256


class Extension(msgspec.Struct, frozen=True):
    """The field `tetrad` of a request body."""

    variables: msgspec.Raw = msgspec.Raw(b"")
    session: str = ""
    user: str = ""
    unit: str = ""
    segment: str = ""
    sensitivity: str = ""
    region: str = ""
    cache: str = ""


class _StreamOptions(msgspec.Struct, frozen=True):
    include_usage: bool | None = None


NO_EXTENSION = Extension()
_extension = msgspec.json.Decoder(Extension | None)
_stream_options = msgspec.json.Decoder(_StreamOptions | None)


def read_fields(body: bytes) -> Fields:
    """Return the top level of a JSON object; refuse anything else, and text that is not UTF-8."""
    if not body:
        raise RequestRefused("the request has no body", hint="send a JSON object", code="empty_body")
    try:
        fields = _fields.decode(body)
        if not body.isascii():
            body.decode()  # slices are passed on unread, so what they hold is checked here
    except UnicodeDecodeError as error:
        raise RequestRefused(f"the body is not UTF-8 at byte {error.start}", code="malformed_json") from None
    except msgspec.ValidationError:
        raise RequestRefused("the body is not a JSON object", hint="send {…}", code="malformed_json") from None
    except msgspec.DecodeError as error:
        raise RequestRefused(f"the body is malformed JSON: {error}", code="malformed_json") from None
    except RecursionError:
        raise RequestRefused("the body is nested too deeply", code="malformed_json") from None
    return fields


def text_field(fields: Fields, name: str) -> str:
    """Return a field that must be a non-empty string."""
    raw = fields.get(name)
    if raw is None:
        raise RequestRefused(f"the field {name!r} is missing", param=name, code="missing_field")
    try:
        value = _text.decode(raw)
    except msgspec.MsgspecError:
        value = ""
    if not value:
        raise RequestRefused(f"the field {name!r} must be a string", param=name, code="bad_field")
    return value


def flag_field(fields: Fields, name: str) -> bool:
    """Return a boolean field; null and absent are false."""
    raw = fields.get(name)
    if raw is None:
        return False
    try:
        return bool(_flag.decode(raw))
    except msgspec.MsgspecError:
        raise RequestRefused(f"the field {name!r} must be true or false", param=name, code="bad_field") from None


def usage_asked(fields: Fields) -> bool:
    """Tell whether the client wants usage at the end of its stream."""
    raw = fields.get("stream_options")
    if raw is None:
        return False
    try:
        options = _stream_options.decode(raw)
    except msgspec.MsgspecError:
        raise RequestRefused(
            "the field 'stream_options' is malformed", param="stream_options", code="bad_field"
        ) from None
    return bool(options and options.include_usage)


def take_extension(fields: Fields) -> Extension:
    """Remove what the client says to us from the body, and return it; upstreams never see it.

    Variables may also come as JSON text in `metadata["tetrad.variables"]`, for clients that cannot send unknown fields.
    """
    raw = fields.pop("tetrad", None)
    extension = NO_EXTENSION
    if raw is not None:
        try:
            extension = _extension.decode(raw) or extension
        except msgspec.MsgspecError as error:
            raise RequestRefused(
                f"the field 'tetrad' is malformed: {error}", param="tetrad", code="bad_field"
            ) from None
    metadata = fields.get("metadata")
    if metadata is not None and VARIABLES_KEY.encode() in bytes(metadata):
        variables = _take_metadata(fields, metadata)
        if variables and not bytes(extension.variables):
            extension = msgspec.structs.replace(extension, variables=msgspec.Raw(variables))
    return extension


def _take_metadata(fields: Fields, raw: msgspec.Raw) -> bytes:
    try:
        entries = _object.decode(raw) or {}
        found = entries.pop(VARIABLES_KEY, None)
        variables = b"" if found is None else _text.decode(found).encode()
    except msgspec.MsgspecError:
        raise RequestRefused(
            f"metadata[{VARIABLES_KEY!r}] must be a string of JSON", param="metadata", code="bad_field"
        ) from None
    if entries:
        fields["metadata"] = msgspec.Raw(msgspec.json.encode(entries))
    else:
        del fields["metadata"]
    return variables


class _Metadata(msgspec.Struct, frozen=True):
    user_id: str | None = None


_metadata = msgspec.json.Decoder(_Metadata | None)


def anthropic_user(fields: Fields) -> str:
    """Return who asks, as Anthropic's clients say it; what is malformed is the upstream's to refuse."""
    raw = fields.get("metadata")
    if raw is None:
        return ""
    try:
        said = _metadata.decode(raw)
    except msgspec.MsgspecError:
        return ""
    return (said.user_id if said else None) or ""


def read_variables(raw: bytes) -> dict[str, Any]:
    """Return the values for a prompt; they must be one JSON object."""
    if not raw:
        return {}
    try:
        values = _values.decode(raw)
    except msgspec.MsgspecError as error:
        raise RequestRefused(
            f"the variables are no JSON object: {error}",
            param="tetrad.variables",
            hint='send "tetrad": {"variables": {"name": "value"}}',
            code="prompt_variables",
        ) from None
    return values


def array_field(fields: Fields, name: str) -> bytes:
    """Return the bytes of a field that must be an array, `[]` where it is absent."""
    raw = fields.get(name)
    data = b"[]" if raw is None else bytes(raw)
    if data[:1] != b"[":
        raise RequestRefused(f"the field {name!r} must be an array", param=name, code="bad_field")
    return data


def items_field(fields: Fields, name: str) -> bytes:
    """Return the bytes of a field of Responses' items, as an array: a text is one message of the user."""
    raw = fields.get(name)
    data = b"[]" if raw is None else bytes(raw)
    if data[:1] == b'"':
        return b'[{"type":"message","role":"user","content":' + data + b"}]"
    if data[:1] != b"[":
        raise RequestRefused(f"the field {name!r} must be a string or an array", param=name, code="bad_field")
    return data


def seen(fields: Fields, operation: Operation) -> bytes:
    """Return what the model gets to see, for the record: the input, behind the instructions that stand beside it."""
    raw = fields.get(operation.input)
    data = b"" if raw is None else bytes(raw)
    if operation.system and data[:1] == b"[" and (system := fields.get(operation.system)) is not None:
        return prepend(b'{"role":"system","content":' + bytes(system) + b"}", data)
    return data


def is_empty_array(data: bytes) -> bool:
    """Tell whether JSON bytes are an array without items."""
    return data[1:2] != b"{" and _EMPTY_ARRAY.fullmatch(data) is not None


def prepend(items: bytes, array: bytes) -> bytes:
    """Put encoded items (no brackets, comma-separated) before those of an array."""
    if not items:
        return array
    if is_empty_array(array):
        return b"[" + items + b"]"
    return b"".join((b"[", items, b",", memoryview(array)[1:]))


def append(array: bytes, items: bytes) -> bytes:
    """Put encoded items (no brackets, comma-separated) behind those of an array."""
    if is_empty_array(array):
        return b"[" + items + b"]"
    return array[: array.rindex(b"]")] + b"," + items + b"]"


def label(value: bytes | None, name: str) -> str:
    """Read a header that names a session, a user or the like."""
    if not value:
        return ""
    text = value.decode("utf-8", "replace")
    if len(text) > MAX_LABEL_CHARS:
        raise RequestRefused(f"{name} is longer than {MAX_LABEL_CHARS} characters", param=name, code="bad_field")
    return text


def with_tools(own: bytes, given: bytes) -> bytes:
    """Put the client's tools behind those of the release, which it depends on; the names must differ."""
    if given[:1] != b"[":
        if given == b"null":
            return own
        raise RequestRefused("the field 'tools' must be an array", param="tools", code="bad_field")
    taken = {_tool_name(tool) for tool in msgspec.json.decode(own)}
    for tool in msgspec.json.decode(given):
        if (name := _tool_name(tool)) and name in taken:
            raise RequestRefused(
                f"the release has a tool {name[:80]!r} of its own", param="tools", hint="name yours otherwise",
                code="tool_taken",
            )  # fmt: skip
    return own if is_empty_array(given) else append(own, given[1 : given.rindex(b"]")])


def _tool_name(tool: Any) -> str:
    inner = tool.get("function", tool) if isinstance(tool, dict) else {}
    return str(inner.get("name") or "") if isinstance(inner, dict) else ""
