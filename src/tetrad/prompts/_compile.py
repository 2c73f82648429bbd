"""Compile a prompt once, render it many times."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from tetrad.prompts._jinja import REFUSED_FILTERS, REFUSED_GLOBALS, check_jinja
from tetrad.prompts._limits import (
    MAX_FUEL,
    MAX_LOOPED_TEXT_CHARS,
    MAX_MESSAGES,
    MAX_OUTPUT_CHARS,
    MAX_TEMPLATE_CHARS,
)
from tetrad.prompts._model import CLIENT_MESSAGES, PLACEHOLDER, ROLES, PromptMessage, Syntax, check_placeholders
from tetrad.prompts._mustache import (
    BLOCK_CLOSE,
    BLOCK_OPEN,
    COMMENT_CLOSE,
    COMMENT_OPEN,
    VARIABLE_CLOSE,
    VARIABLE_OPEN,
    Translation,
    translate,
    undeclared,
)
from tetrad.prompts._plain import PlainTemplate, plain_template
from tetrad.prompts._variables import Signature, VariableSpec
from tetrad.prompts.errors import PromptError, bad_variables, past_limit


class CompiledPrompt:
    """Messages whose templates are compiled; `render` gives them values.

    Rendering is safe from several threads. Values are data: nothing in them is read as a template, and they fill only
    the content of the message that names them. A placeholder becomes the messages that its variable holds; the one of
    the request's messages stays `{"role": "placeholder", "content": "messages"}`, for the caller to put them there.
    """

    __slots__ = (
        "_has_placeholders",
        "_lock",
        "_looks_up",
        "_plain",
        "_plainly",
        "_plan",
        "_render_template",
        "_signature",
        "_spent",
        "_static",
    )

    def __init__(self, messages: Sequence[tuple[str, str]], syntax: Syntax, variables: Sequence[VariableSpec]) -> None:
        if len(messages) > MAX_MESSAGES:
            raise past_limit(f"a prompt of {len(messages)} messages", hint=f"at most {MAX_MESSAGES}")
        if syntax not in ("mustache", "jinja2"):
            raise PromptError(f"the template syntax {syntax!r} is unknown", hint="syntaxes are mustache and jinja2")
        self._signature = Signature(variables)
        self._lock = threading.Lock()
        self._spent = 0
        self._render_template: Callable[..., str] | None = None
        self._plan: list[tuple[str, str, str]] = []
        templates: dict[str, Translation] = {}
        check_placeholders(
            [PromptMessage(role, text) for role, text in messages if role == PLACEHOLDER],
            {variable.name: variable.type for variable in variables},
        )
        self._has_placeholders = any(role == PLACEHOLDER for role, _ in messages)
        for index, (role, text) in enumerate(messages):
            if role == PLACEHOLDER:
                self._plan.append((role, text.strip(), ""))
                continue
            if role not in ROLES:
                raise PromptError(
                    f"message {index + 1} has the role {role!r}", hint=f"roles of a prompt are {', '.join(ROLES)}"
                )
            template = _translated(index, role, text, syntax, self._signature.names)
            if template.has_tags:
                templates[str(index)] = template
                self._plan.append((role, "", str(index)))
            else:
                self._plan.append((role, template.source, ""))
        self._static = not templates and all(
            role != PLACEHOLDER or text == CLIENT_MESSAGES for role, text, _ in self._plan
        )
        self._plain: dict[str, PlainTemplate] = {}
        if syntax == "mustache":
            found = {name: plain_template(template.source) for name, template in templates.items()}
            self._plain = {name: plain for name, plain in found.items() if plain is not None}
        self._plainly = self._all_plain(templates)
        self._looks_up = any("_look(" in template.source for template in templates.values())
        if templates:
            self._compile(templates, syntax, messages)

    @property
    def is_static(self) -> bool:
        """No message names a variable or holds a tag, so that every rendering is the same."""
        return self._static

    def render(self, values: Mapping[str, object] | None = None) -> list[dict[str, Any]]:
        """Return new messages `{"role", "content"}`; raises `PromptError` that names what is wrong with `values`."""
        bound = self._signature.bind(values or {})
        render = self._render_template
        if render is None and not self._has_placeholders:
            return [{"role": role, "content": text} for role, text, _ in self._plan]
        if self._plainly is not None and (whole := self._filled(self._plainly, bound)) is not None:
            return whole
        if self._looks_up:
            bound["_values"] = dict(bound)
        messages: list[dict[str, Any]] = []
        plain = self._plain
        with self._lock:
            for role, text, name in self._plan:
                if role == PLACEHOLDER and text != CLIENT_MESSAGES:
                    messages += messages_of(text, bound[text])
                    continue
                if name in plain and (filled := plain[name].fill(bound, MAX_OUTPUT_CHARS)) is not None:
                    text = filled
                elif name and render is not None:
                    self._spent = 0
                    try:
                        text = render(name, **bound)
                    except PromptError:
                        raise
                    except Exception as error:  # noqa: BLE001 - whatever minijinja raises is told as ours
                        raise _explained(error, f"message {int(name) + 1} ({role})") from None
                    if len(text) > MAX_OUTPUT_CHARS:
                        raise _too_long()
                messages.append({"role": role, "content": text})
        return messages

    def _all_plain(self, templates: Mapping[str, Translation]) -> list[tuple[str, str, PlainTemplate | None]] | None:
        """Return role, text and template of each message, where none needs the engine; else None."""
        if self._has_placeholders or len(self._plain) != len(templates):
            return None
        return [(role, text, self._plain.get(name)) for role, text, name in self._plan]

    @staticmethod
    def _filled(
        plan: list[tuple[str, str, PlainTemplate | None]], bound: Mapping[str, object]
    ) -> list[dict[str, Any]] | None:
        """Return the messages; None where a value is one for the engine. It has no state, and so no lock."""
        messages: list[dict[str, Any]] = []
        for role, text, plain in plan:
            if plain is not None:
                said = plain.fill(bound, MAX_OUTPUT_CHARS)
                if said is None:
                    return None
                messages.append({"role": role, "content": said})
            else:
                messages.append({"role": role, "content": text})
        return messages

    def _compile(self, templates: dict[str, Translation], syntax: Syntax, messages: Sequence[tuple[str, str]]) -> None:
        env = self._environment(syntax, max(template.looped_text_chars for template in templates.values()))
        for name, template in templates.items():
            where = f"message {int(name) + 1} ({messages[int(name)][0]})"
            try:
                env.add_template(name, template.source)
                used = env.undeclared_variables_in_template(name) if syntax == "jinja2" else set()
            except Exception as error:  # noqa: BLE001 - see render
                raise _explained(error, where) from None
            for variable in sorted(used - self._signature.names - {"range", "loop"}):
                source = messages[int(name)][1]
                line = source.count("\n", 0, max(source.find(variable), 0)) + 1
                raise _placed(undeclared(variable, line, self._signature.names), where)
        self._render_template = env.render_template

    def _environment(self, syntax: Syntax, looped_text_chars: int) -> Any:
        import minijinja

        fuel = min(MAX_FUEL, MAX_LOOPED_TEXT_CHARS // looped_text_chars) if looped_text_chars else MAX_FUEL
        options: dict[str, Any] = {
            "fuel": fuel,
            "undefined_behavior": "strict",
            "auto_escape_callback": _never,
            "finalizer": self._finalize,
            "keep_trailing_newline": True,
            "pycompat": False,
            "debug": False,
        }
        if syntax == "mustache":
            env: Any = minijinja.Environment(
                variable_start_string=VARIABLE_OPEN,
                variable_end_string=VARIABLE_CLOSE,
                block_start_string=BLOCK_OPEN,
                block_end_string=BLOCK_CLOSE,
                comment_start_string=COMMENT_OPEN,
                comment_end_string=COMMENT_CLOSE,
                **options,
            )
            env.add_function("_look", _look)
            env.add_function("_each", _each)
        else:
            env = minijinja.Environment(trim_blocks=True, lstrip_blocks=True, **options)
            for name in REFUSED_FILTERS:
                env.remove_filter(name)
            env.add_filter("join", _join)
            env.add_filter("replace", _replace)
            env.add_filter("tojson", _tojson)
        for name in REFUSED_GLOBALS:
            env.remove_global(name)
        return env

    def _finalize(self, value: object) -> str:
        """Turn what a tag writes into text, and count it."""
        text = value if type(value) is str else _text(value)
        self._spent += len(text)
        if self._spent > MAX_OUTPUT_CHARS:
            raise _too_long()
        return text


def compile_prompt(
    messages: Sequence[tuple[str, str]], *, syntax: Syntax = "mustache", variables: Sequence[VariableSpec] = ()
) -> CompiledPrompt:
    """Compile (role, template) pairs; raises `PromptError` with the message and line of the first fault."""
    return CompiledPrompt(messages, syntax, variables)


def _translated(index: int, role: str, text: str, syntax: Syntax, names: frozenset[str]) -> Translation:
    where = f"message {index + 1} ({role})"
    if len(text) > MAX_TEMPLATE_CHARS:
        raise past_limit(f"{where} has {len(text):,} characters", hint=f"at most {MAX_TEMPLATE_CHARS:,}")
    try:
        return translate(text, names) if syntax == "mustache" else check_jinja(text)
    except PromptError as error:
        raise _placed(error, where) from None


def _placed(error: PromptError, where: str) -> PromptError:
    return PromptError(f"{where}, {error.message}", hint=error.hint, code=error.code)


def _explained(error: Exception, where: str) -> PromptError:
    """Say in our words what minijinja says, with the line and without its picture of the source."""
    message = str(getattr(error, "message", error)).partition("\n")[0]
    kind = getattr(error, "kind", "")
    line = getattr(error, "line", None)
    place = f"{where}, line {line}" if line else where
    if kind == "OutOfFuel" or "fuel" in message:
        return past_limit(f"{place}: rendering took more than {MAX_FUEL:,} steps", hint="loop over less")
    detail = message.removeprefix("syntax error: ").removeprefix("invalid operation: ").partition(" (in ")[0]
    if kind == "UndefinedError" or "undefined" in detail:
        return bad_variables(
            f"{place}: an undefined value is used: {detail}", hint="test it with `is defined`, or give the field"
        )
    return PromptError(f"{place}: {detail}", hint="correct the template")


def _too_long() -> PromptError:
    return past_limit(f"a rendered message passes {MAX_OUTPUT_CHARS:,} characters", hint="loop over less")


_MESSAGE_ROLES: Final = frozenset({*ROLES, "tool"})
_MESSAGE_KEYS: Final = frozenset({"role", "content", "name", "tool_calls", "tool_call_id"})


def messages_of(name: str, value: object) -> list[dict[str, Any]]:
    """Return the messages that a placeholder's value holds, or refuse it by the variable's name and the item."""
    if value is None:
        return []
    if not isinstance(value, (list, tuple)):
        raise bad_variables(f"the variable {name!r} is no list of messages", hint=_MESSAGE_HINT)
    found = []
    for number, item in enumerate(value, 1):
        place = f"the variable {name!r}, message {number}"
        if not isinstance(item, Mapping) or item.get("role") not in _MESSAGE_ROLES:
            raise bad_variables(f"{place} has no role of a message", hint=_MESSAGE_HINT)
        content = item.get("content")
        if not isinstance(content, (str, list, tuple)) and not (content is None and item.get("tool_calls")):
            raise bad_variables(f"{place} has no content", hint=_MESSAGE_HINT)
        if unknown := set(item) - _MESSAGE_KEYS:
            raise bad_variables(
                f"{place} has the key {min(unknown)!r}", hint=f"keys are {', '.join(sorted(_MESSAGE_KEYS))}"
            )
        found.append(dict(item))
    return found


_MESSAGE_HINT: Final = f'a message is {{"role": …, "content": …}}; roles are {", ".join(sorted(_MESSAGE_ROLES))}'


def _never(_name: str) -> bool:
    return False


def _text(value: object) -> str:
    """Write a value as people write it in JSON; nothing for null."""
    if value is None:
        return ""
    if type(value) is int:
        return str(value)
    return str(value) if isinstance(value, str) else _tojson(value)


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Sequence):
        return list(value)
    raise bad_variables(f"a {type(value).__name__} cannot be written", hint="write one of its fields")


_ABSENT: Final = object()


def _look(path: str, strict: bool, values: dict[str, object], *scopes: object) -> object:
    """Find the first part of a path in the innermost scope that has it, and follow the rest from there."""
    first, *rest = path.split(".")
    for scope in (*scopes, values):
        if isinstance(scope, dict) and first in scope:
            found = scope[first]
            break
    else:
        if strict or not scopes:
            raise bad_variables(f"there is no value for {path!r}", hint="declare the variable, or give the field")
        return None
    for part in rest:
        inner = found.get(part, _ABSENT) if isinstance(found, dict) else _ABSENT
        if inner is _ABSENT:
            if strict:
                raise bad_variables(f"{path!r} has no value: {part!r} is missing", hint="give the field")
            return None
        found = inner
    return found


def _each(value: object) -> Sequence[object]:
    """Return what a section is repeated over; null, false, empty text and an empty array are nothing."""
    if isinstance(value, (list, tuple)):
        return value
    if value is None or value is False or value == "":
        return ()
    return (value,)


def _join(items: Sequence[object], separator: str = "") -> str:
    texts = [_text(item) for item in items]
    if sum(map(len, texts)) + len(separator) * len(texts) > MAX_OUTPUT_CHARS:
        raise _too_long()
    return separator.join(texts)


def _replace(text: object, old: str, new: str) -> str:
    source = _text(text)
    count = source.count(old) if old else len(source) + 1
    if len(source) + count * len(new) > MAX_OUTPUT_CHARS:
        raise _too_long()
    return source.replace(old, new)


_tojson: Final = json.JSONEncoder(ensure_ascii=False, separators=(", ", ": "), default=_plain).encode
