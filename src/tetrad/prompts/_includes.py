"""Composition: the text of one prompt put into another, pinned by digest, so that it never changes by itself."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

from tetrad.kernel import Digest
from tetrad.prompts._limits import MAX_CLOSURE, MAX_INCLUDE_DEPTH, MAX_TEMPLATE_CHARS
from tetrad.prompts._model import PLACEHOLDER, PromptMessage, PromptSpec, Syntax
from tetrad.prompts._reference import Reference, parse_reference
from tetrad.prompts._variables import VariableSpec
from tetrad.prompts.errors import PromptError, past_limit

_JINJA_INCLUDE: Final = re.compile(r"""\{%\s*include\s+(?:"([^"\n]*)"|'([^'\n]*)')\s*%\}""")


@dataclass(frozen=True, slots=True)
class Included:
    """A prompt that another includes, directly or not; `path` is how: the names from the outermost inwards."""

    name: str
    ref: str
    digest: Digest
    path: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Composition:
    """A prompt with everything that it includes in its place, and the closure that it was put together from."""

    spec: PromptSpec
    closure: tuple[Included, ...] = ()

    @property
    def digests(self) -> tuple[Digest, ...]:
        """The digests of the closure, each once, sorted."""
        return tuple(sorted({each.digest for each in self.closure}))


def include_tags(text: str, syntax: Syntax) -> Iterator[tuple[int, int, str]]:
    """Yield (start, end, reference) of `{{> name@^1}}`, in Jinja2 prompts of `{% include "name@^1" %}`.

    Jinja2 includes are read wherever they stand, comments and raw blocks too.
    """
    if syntax == "jinja2":
        for found in _JINJA_INCLUDE.finditer(text):
            yield found.start(), found.end(), found[1] if found[1] is not None else found[2]
        return
    position = 0
    while (start := text.find("{{", position)) >= 0:
        triple = text.startswith("{{{", start)
        close = "}}}" if triple else "}}"
        end = text.find(close, start + len(close))
        if end < 0:
            return  # the compiler says where the tag opens
        if not triple and text[start + 2 : start + 3] == ">":
            yield start, end + 2, text[start + 3 : end].strip()
        position = end + len(close)


def include_references(spec: PromptSpec) -> tuple[Reference, ...]:
    """Return what a prompt's templates include, each reference once, in their order of appearance."""
    found: dict[str, Reference] = {}
    for message in spec.messages:
        if message.role == PLACEHOLDER:
            continue
        for start, _, ref in include_tags(message.text, spec.syntax):
            line = message.text.count("\n", 0, start) + 1
            try:
                found.setdefault(ref, parse_reference(ref))
            except PromptError as error:
                raise PromptError(f"{message.role} message, line {line}: {error.message}", hint=error.hint) from None
    return tuple(found.values())


def without_includes(text: str, syntax: Syntax) -> str:
    """Return a template with nothing in the place of its includes; its lines stay where they are."""
    return _replaced(text, syntax, lambda _ref: "")


def compose_prompt(
    spec: PromptSpec, load: Callable[[str, Digest], PromptSpec], *, path: tuple[str, ...] = ()
) -> Composition:
    """Put what a pinned prompt includes into its place, and what that includes, and so on.

    `load` returns a prompt by its name and digest. An included prompt is a text prompt of the same syntax; what it
    declares is declared for the whole, where the including prompt does not declare it itself with the same type. A name
    that includes itself, more than 8 levels and more than 64 prompts are refused.
    """
    return _compose(spec, load, (*path, spec.name), {})


def _compose(
    spec: PromptSpec,
    load: Callable[[str, Digest], PromptSpec],
    path: tuple[str, ...],
    known: dict[tuple[str, Digest], PromptSpec],
) -> Composition:
    references = include_references(spec)
    if not references:
        return Composition(replace(spec, includes=()))
    pins = dict(spec.includes)
    texts: dict[str, str] = {}
    variables = {variable.name: variable for variable in spec.variables}
    closure: list[Included] = []
    for reference in references:
        ref, way = str(reference), (*path, reference.name)
        _check_path(way)
        if ref not in pins:
            raise PromptError(f"{spec.name!r} includes {ref!r}, which is not resolved", hint="commit it first")
        key = (reference.name, pins[ref])
        fragment = known.get(key) or known.setdefault(key, load(*key))
        _check_fragment(spec, fragment)
        inner = _compose(fragment, load, way, known)
        closure += [Included(reference.name, ref, pins[ref], way), *inner.closure]
        if len(closure) > MAX_CLOSURE:
            raise past_limit(f"{path[0]!r} includes more than {MAX_CLOSURE} prompts", hint="write some of them out")
        texts[ref] = inner.spec.messages[0].text
        _add_variables(variables, inner.spec, reference)
    messages = tuple(
        message
        if message.role == PLACEHOLDER
        else PromptMessage(message.role, _replaced(message.text, spec.syntax, texts.__getitem__))
        for message in spec.messages
    )
    return Composition(
        replace(spec, messages=messages, variables=tuple(variables.values()), includes=()), tuple(closure)
    )


def _check_path(path: tuple[str, ...]) -> None:
    if path[-1] in path[:-1]:
        raise PromptError(
            f"the includes go in a circle: {' → '.join(path)}", hint="take one of these includes out",
            code="prompt_include_cycle",
        )  # fmt: skip
    if len(path) - 1 > MAX_INCLUDE_DEPTH:
        raise past_limit(
            f"includes nested deeper than {MAX_INCLUDE_DEPTH} levels: {' → '.join(path)}", hint="write some of them out"
        )


def _check_fragment(spec: PromptSpec, fragment: PromptSpec) -> None:
    if fragment.type != "text":
        raise PromptError(
            f"{spec.name!r} includes {fragment.name!r}, which is a prompt of messages",
            hint="only prompts of `type: text` can be included",
        )
    if fragment.syntax != spec.syntax:
        raise PromptError(
            f"{spec.name!r} is written in {spec.syntax}, {fragment.name!r} in {fragment.syntax}",
            hint="a prompt includes prompts of its own syntax",
        )


def _add_variables(variables: dict[str, VariableSpec], fragment: PromptSpec, reference: Reference) -> None:
    for variable in fragment.variables:
        own = variables.setdefault(variable.name, variable)
        if own.type != variable.type:
            raise PromptError(
                f"the variable {variable.name!r} is of type {own.type} here and {variable.type} in {reference}",
                hint="give one of them another name",
            )


def _replaced(text: str, syntax: Syntax, put: Callable[[str], str]) -> str:
    out: list[str] = []
    position, size = 0, 0
    for start, end, ref in include_tags(text, syntax):
        out += [text[position:start], put(ref)]
        size += len(out[-1]) + len(out[-2])
        if size > MAX_TEMPLATE_CHARS:
            raise past_limit(
                f"a message with what it includes passes {MAX_TEMPLATE_CHARS:,} characters", hint="include less"
            )
        position = end
    return "".join([*out, text[position:]])


def pinned(spec: PromptSpec, digests: Mapping[str, Digest]) -> PromptSpec:
    """Return a prompt whose includes are the digests given by reference."""
    wanted = {str(reference) for reference in include_references(spec)}
    return replace(spec, includes=tuple(sorted((ref, digests[ref]) for ref in wanted)))
