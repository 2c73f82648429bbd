"""The Jinja2 subset: minijinja, narrowed until no template can build more than its limits allow.

minijinja counts instructions, not bytes, so whatever can make much out of little in one instruction is refused when
the prompt is compiled: repetition, assignment, macros, includes, recursion, and filters that pad. Every place where a
tag could open is looked at, also inside comments and `raw` blocks, so that no difference between this reader and
minijinja's can hide a tag.
"""

from __future__ import annotations

import re
from typing import Final

from tetrad.prompts._limits import MAX_TAG_CHARS, MAX_TAG_NAMES
from tetrad.prompts._mustache import CONTROL, Translation
from tetrad.prompts.errors import PromptError, past_limit

STATEMENTS: Final = frozenset({"if", "elif", "else", "endif", "for", "endfor", "raw", "endraw"})
# fmt: off
FILTERS: Final = frozenset({
    "abs", "bool", "capitalize", "count", "d", "default", "dictsort", "first", "float", "int", "items", "join",
    "last", "length", "list", "lower", "map", "max", "min", "reject", "rejectattr", "replace", "reverse",
    "round", "select", "selectattr", "sort", "string", "sum", "title", "tojson", "trim", "unique", "upper",
})
REFUSED_FILTERS: Final = (
    "indent", "format", "slice", "batch", "pprint", "urlencode", "center", "wordwrap", "chain", "zip", "split",
    "lines", "groupby", "truncate", "filesizeformat", "pluralize", "random", "attr", "safe", "escape", "e",
    "wordcount", "striptags", "xmlattr", "datetimeformat", "dateformat", "timeformat",
)
# fmt: on
REFUSED_GLOBALS: Final = ("debug", "cycler", "joiner", "namespace", "dict")

_TOKEN = re.compile(
    r"""\s+ | (?P<string>"(?:\\.|[^"\\])*" | '(?:\\.|[^'\\])*') | (?P<name>[^\W\d]\w*) | (?P<number>\d[\w.]*)
      | (?P<mark>[^\w\s"'])""",
    re.VERBOSE | re.DOTALL,
)
_WORDS = frozenset(
    {"and", "else", "false", "False", "if", "in", "is", "loop", "none", "None", "not", "or", "true", "True"}
)
_OPENER = re.compile(r"\{\{|\{%")


def check_jinja(template: str) -> Translation:
    """Refuse what the subset does not hold, with its line; return the template with the bound on its work."""
    if found := CONTROL.search(template):
        line = template.count("\n", 0, found.start()) + 1
        raise PromptError(f"line {line}: the template holds the control character {found.group()!r}", hint="remove it")
    for opener in _OPENER.finditer(template):
        _check_tag(template, opener.start(), block=opener.group() == "{%")
    has_tags = "{{" in template or "{%" in template or "{#" in template
    return Translation(template, has_tags, len(template) if "{%" in template else 0)


def _check_tag(template: str, start: int, *, block: bool) -> None:
    line = template.count("\n", 0, start) + 1
    close = "%}" if block else "}}"
    tokens = _tokens(template, start + 2, close, line)
    if block:
        head = next((text for kind, text in tokens if kind == "name"), "")
        if head not in STATEMENTS:
            raise PromptError(
                f"line {line}: the statement {head!r} is not in the Jinja2 subset",
                hint=f"statements are {', '.join(sorted(STATEMENTS))}",
            )
        if head == "for" and any(kind == "name" and text == "recursive" for kind, text in tokens):
            raise PromptError(f"line {line}: recursive loops are not in the Jinja2 subset", hint="flatten the data")
    if sum(kind == "name" and text not in _WORDS for kind, text in tokens) > MAX_TAG_NAMES:
        raise past_limit(f"line {line}: a tag with more than {MAX_TAG_NAMES} names", hint="split the expression")
    _check_expression(tokens, line)


def _tokens(template: str, start: int, close: str, line: int) -> list[tuple[str, str]]:
    """Read a tag's tokens up to its end outside every bracket and string."""
    tokens: list[tuple[str, str]] = []
    position, depth = start, 0
    limit = start + MAX_TAG_CHARS
    while True:
        if depth <= 0 and template.startswith((close, "-" + close, "+" + close), position):
            return tokens
        if position >= limit:
            raise past_limit(f"line {line}: a tag of more than {MAX_TAG_CHARS} characters", hint="shorten it")
        match = _TOKEN.match(template, position, limit + MAX_TAG_CHARS)
        if match is None:
            raise PromptError(f"line {line}: the tag that opens here never closes", hint=f"close it with {close}")
        kind, text = match.lastgroup or "", match.group()
        if kind:
            tokens.append((kind, text))
        if kind == "mark":
            depth += (text in "([{") - (text in ")]}")
        position = match.end()


def _check_expression(tokens: list[tuple[str, str]], line: int) -> None:
    for index, (kind, text) in enumerate(tokens):
        before = tokens[index - 1] if index else ("", "")
        after = tokens[index + 1] if index + 1 < len(tokens) else ("", "")
        if kind == "mark" and text == "*":
            raise PromptError(
                f"line {line}: `*` is not in the Jinja2 subset", hint="compute the value in the app and pass it"
            )
        if kind != "name":
            continue
        if before == ("mark", "|"):
            if text not in FILTERS:
                raise PromptError(
                    f"line {line}: the filter {text!r} is not in the Jinja2 subset",
                    hint=f"filters are {', '.join(sorted(FILTERS))}",
                )
            third = tokens[index + 2] if index + 2 < len(tokens) else ("", "")
            if text == "map" and third != ("name", "attribute"):
                raise PromptError(f"line {line}: `map` without `attribute=`", hint="write map(attribute='field')")
        elif (
            after == ("mark", "(")
            and text not in _WORDS - {"loop"}
            and text != "range"
            and before not in (("name", "is"), ("name", "not"))
        ):
            raise PromptError(f"line {line}: {text!r} cannot be called", hint="the only function is range()")
