"""A release made ready to be put before a client's messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from tetrad.kernel import TetradError
from tetrad.serving._body import (
    Fields,
    append,
    array_field,
    is_empty_array,
    items_field,
    prepend,
    read_variables,
    with_tools,
)
from tetrad.serving._item_params import ItemParam, item_params
from tetrad.serving._messages_prompting import PLACEHOLDER, MessagesShape
from tetrad.serving._model import MessageTemplate, ReleaseRoute, TemplateSyntax, Variable
from tetrad.serving._operations import RESPONSES, Operation
from tetrad.serving.errors import BadRouteTable, RequestRefused
from tetrad.serving.ports import Prompt, PromptCompiler

_encode = msgspec.json.Encoder().encode
_LEADING = frozenset(("system", "developer"))
_SAME = {"max_tokens": "max_completion_tokens", "max_completion_tokens": "max_tokens"}
"""Two names of one limit: a client that gives either has given both."""


class CompiledRelease:
    """A release's prompt, compiled once, and its parameters; raises `BadRouteTable` for what cannot be."""

    __slots__ = (
        "_examples",
        "_fixed",
        "_item_params",
        "_known",
        "_leading",
        "_params",
        "_prompt",
        "_shapes",
        "_splits",
        "_static",
        "route",
    )

    def __init__(self, route: ReleaseRoute, compiler: PromptCompiler) -> None:
        self.route = route
        self._fixed = frozenset(route.fixed)
        self._known = frozenset(variable.name for variable in route.variables)
        self._params = {name: msgspec.Raw(_checked_param(name, raw)) for name, raw in route.params.items()}
        self._item_params: tuple[tuple[ItemParam, ...], Fields] | None = None
        self._examples = _items([{"role": example.role, "content": example.text} for example in route.examples])
        self._leading = _leading(route.messages)
        self._prompt: Prompt | None = None
        self._shapes: dict[str, MessagesShape] = {}
        self._splits = any(message.role == PLACEHOLDER for message in route.messages)
        self._static: tuple[bytes, bytes] | None = (self._examples, b"")
        if (route.messages or route.variables) and not route.steps:
            try:
                messages = [(message.role, message.text) for message in route.messages]
                self._prompt = compiler(messages, route.syntax, route.variables)
                # a static prompt may still declare variables, whose values are to be checked
                self._static = self._joined(self._prompt.render({})) if self._is_static(self._prompt) else None
            except TetradError as error:
                raise BadRouteTable(f"the prompt of release {route.digest} is broken: {error.message}") from error

    def put(self, operation: Operation, fields: Fields, variables: bytes) -> tuple[tuple[str, ...], Fields]:
        """Do what `apply` does, in the words of the operation's protocol.

        Returns also the parameters that this protocol cannot say, by their names in chat completions.
        """
        if self.route.steps:  # each step puts its own prompt in; see `tetrad.serving._chains`
            return self._values(variables)[1] if variables else (), {}
        if operation is RESPONSES:
            return self._put_items(fields, variables)
        if not operation.system:
            return self.apply(fields, variables), {}
        shape = self._shapes.get(operation.name)
        if shape is None:
            shape = self._shapes[operation.name] = MessagesShape(self.route, operation)
        messages: list[dict[str, Any]] | None = None
        unused: tuple[str, ...] = ()
        if variables or not shape.ready or self._static is None:
            messages, unused = self._messages(variables)
        shape.apply(fields, messages)
        return unused, shape.unsaid

    def _messages(self, variables: bytes) -> tuple[list[dict[str, Any]], tuple[str, ...]]:
        """Return prompt and examples as messages, and the names of unknown variables."""
        examples = [{"role": example.role, "content": example.text} for example in self.route.examples]
        known, unused = self._values(variables)
        if self._prompt is None:
            return examples, unused
        rendered = self._rendered(self._prompt, known)
        return [*rendered[: self._leading], *examples, *rendered[self._leading :]], unused

    def apply(self, fields: Fields, variables: bytes) -> tuple[str, ...]:
        """Put prompt, examples and parameters into a request's fields, in place.

        Returns the names of variables that this release does not know. They are left out, not refused: callers that
        learnt a newer release's variables must survive a rollback to an older one.
        """
        messages, unused = self._around(array_field(fields, "messages"), variables, "messages")
        fields["messages"] = msgspec.Raw(messages)
        for name, value in self._params.items():
            given = fields.get(name)
            if name in self._fixed:
                if given is not None and bytes(given) != bytes(value):
                    raise RequestRefused(
                        f"the release fixes {name!r} at {bytes(value).decode()}",
                        param=name,
                        hint=f"leave {name!r} out of the request",
                        code="param_fixed",
                    )
                fields[name] = value
            elif name == "tools" and given is not None:
                fields[name] = msgspec.Raw(with_tools(bytes(value), bytes(given)))
            elif given is None and _SAME.get(name) not in fields:
                fields[name] = value
        return unused

    def _put_items(self, fields: Fields, variables: bytes) -> tuple[tuple[str, ...], Fields]:
        """Do what `apply` does for a request that speaks Responses: messages are items of its `input`."""
        items, unused = self._around(items_field(fields, "input"), variables, "input")
        fields["input"] = msgspec.Raw(items)
        if self._item_params is None:
            self._item_params = item_params(self._params, self._fixed)
        said, unsaid = self._item_params
        for param in said:
            param.put(fields)
        return unused, unsaid

    def _around(self, client: bytes, variables: bytes, field: str) -> tuple[bytes, tuple[str, ...]]:
        """Return the client's messages with the prompt's around them, and the names of unused variables."""
        items = self._static
        unused: tuple[str, ...] = ()
        if items is None or variables:
            items, unused = self._render(variables)
        messages = prepend(items[0], client)
        if items[1]:
            messages = append(messages, items[1])
        if is_empty_array(messages):
            raise RequestRefused(
                "there is no message: the release has no prompt and the request no messages",
                param=field,
                code="missing_field",
            )
        return messages, unused

    def _render(self, variables: bytes) -> tuple[tuple[bytes, bytes], tuple[str, ...]]:
        known, unused = self._values(variables)
        if self._prompt is None:
            return (self._examples, b""), unused
        return self._joined(self._rendered(self._prompt, known)), unused

    def _values(self, variables: bytes) -> tuple[dict[str, Any], tuple[str, ...]]:
        given = read_variables(variables)
        if self._known.issuperset(given):
            return given, ()
        known = {name: value for name, value in given.items() if name in self._known}
        return known, tuple(name for name in given if name not in known)

    @staticmethod
    def _rendered(prompt: Prompt, known: Mapping[str, Any]) -> list[dict[str, Any]]:
        try:
            return prompt.render(known)
        except RequestRefused:
            raise
        except TetradError as error:
            raise RequestRefused(
                error.message, param="tetrad.variables", hint=error.hint, code=error.code, status=error.status
            ) from None

    def _joined(self, messages: list[dict[str, Any]]) -> tuple[bytes, bytes]:
        """Return what goes before the client's messages and what goes after them."""
        cut, after = self._leading, b""
        if self._splits:
            place = next((n for n, message in enumerate(messages) if message["role"] == PLACEHOLDER), len(messages))
            messages, after = messages[:place], _items(messages[place + 1 :])
        if cut >= len(messages):  # the usual prompt is what the system says
            said = _items(messages)
            return (b",".join((said, self._examples)) if said and self._examples else said or self._examples), after
        before = b",".join(part for part in (_items(messages[:cut]), self._examples, _items(messages[cut:])) if part)
        return before, after

    def _is_static(self, prompt: Prompt) -> bool:
        required = any(not bytes(variable.default) for variable in self.route.variables)
        return prompt.is_static and not required


def house_compiler(
    messages: Sequence[tuple[str, str]], syntax: TemplateSyntax, variables: Sequence[Variable]
) -> Prompt:
    """Compile with the templates of `tetrad.prompts`."""
    from tetrad.prompts import REQUIRED, VariableSpec, compile_prompt

    specs = [
        VariableSpec(
            name=variable.name,
            type=variable.type,
            default=msgspec.json.decode(variable.default) if bytes(variable.default) else REQUIRED,
            description=variable.description,
        )
        for variable in variables
    ]
    return compile_prompt(messages, syntax=syntax, variables=specs)


def _leading(messages: Sequence[MessageTemplate]) -> int:
    count = 0
    while count < len(messages) and messages[count].role in _LEADING:
        count += 1
    return count


def _items(messages: Sequence[dict[str, Any]]) -> bytes:
    return _encode(messages)[1:-1]


def _checked_param(name: str, raw: msgspec.Raw) -> bytes:
    data = bytes(raw)
    try:
        msgspec.json.decode(data)
    except msgspec.MsgspecError:
        raise BadRouteTable(f"the parameter {name!r} of a release is no JSON") from None
    if name in ("model", "messages", "stream", "stream_options"):
        raise BadRouteTable(f"a release cannot set {name!r}")
    return data
