"""Prompt files: Markdown with YAML front matter. The format is described in `docs/reference/prompt-file.md`."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping
from typing import Any, Final

from tetrad.kernel import TetradError
from tetrad.kit.plain_yaml import BadYaml, PlainYaml, parse_yaml
from tetrad.prompts._chain import ChainSpec, ChainStep
from tetrad.prompts._compile import compile_prompt
from tetrad.prompts._includes import without_includes
from tetrad.prompts._limits import MAX_FILE_BYTES
from tetrad.prompts._model import PLACEHOLDER, ROLES, PromptMessage, PromptSpec
from tetrad.prompts._variables import REQUIRED, VARIABLE_TYPES, VariableSpec
from tetrad.prompts.errors import PromptError, past_limit

KEYS: Final = (
    "name", "description", "type", "syntax", "variables", "output_schema", "tools", "params", "examples", "metadata",
)  # fmt: skip
CHAIN_KEYS: Final = ("name", "description", "type", "variables", "steps", "metadata")
STEP_KEYS: Final = ("name", "prompt", "inputs")
VARIABLE_KEYS: Final = ("type", "default", "description")

_ROLE = "|".join(ROLES)
_HEADING = re.compile(rf"# ({_ROLE}|{PLACEHOLDER})[ \t]*")
_LOOKS_LIKE_HEADING = re.compile(rf"#[ \t]*({_ROLE}|placeholder|tool)s?[ \t]*:?[ \t]*", re.IGNORECASE)
_ESCAPED = re.compile(rf"\\+#[ \t]*({_ROLE}|placeholder|tool)s?[ \t]*:?[ \t]*", re.IGNORECASE)
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_./()'-]*(?: [A-Za-z0-9_./()'-]+)*")
_WORDS = frozenset({"null", "true", "false", "yes", "no", "on", "off", "y", "n"})
_UNSAFE = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")


def parse_prompt_file(text: str, path: str = "prompt.md") -> PromptSpec:
    """Read a prompt file; raises `PromptError` whose message starts with `path:line:`.

    The templates are compiled once, so that a prompt that is read can be rendered. `path` names the file in errors, and
    the prompt where the front matter does not.
    """
    spec = read_prompt_file(text, path)
    if isinstance(spec, ChainSpec):
        raise PromptError(f"{path}:1: this is a chain of prompts, not a prompt", hint="name one of its steps' prompts")
    return spec


def read_prompt_file(text: str, path: str = "prompt.md") -> PromptSpec | ChainSpec:
    """Read a file that holds a prompt or, with `type: chain`, a chain of them; errors as `parse_prompt_file`."""
    if len(text) > MAX_FILE_BYTES:
        raise past_limit(f"{path} has more than {MAX_FILE_BYTES:,} characters", hint="a prompt file is text for people")
    lines = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n").split("\n")
    front, body_start = _front_matter(lines, path)
    if isinstance(front.value, dict) and front.value.get("type") == "chain":
        return _chain(front, lines, body_start, path)
    reader = _FrontMatter(front, path, KEYS)
    kind = reader.choice("type", ("chat", "text"), "chat")
    if kind == "text":
        found = [(body_start + 1, "user", "\n".join(lines[body_start:]))]
    else:
        found = _sections(lines, body_start, path)
    messages = tuple(_message(role, content, path, line) for line, role, content in found)
    try:
        spec = PromptSpec(
            name=reader.text("name") or name_of(path),
            description=reader.text("description"),
            type=kind,  # type: ignore[arg-type] # checked by `choice`
            syntax=reader.choice("syntax", ("mustache", "jinja2"), "mustache"),  # type: ignore[arg-type] # same
            messages=messages,
            variables=reader.variables(),
            output_schema=reader.mapping("output_schema"),
            tools=reader.tools(),
            params=reader.mapping("params") or {},
            examples=reader.text("examples"),
            metadata=reader.mapping("metadata") or {},
        )
    except PromptError as error:
        if error.message.startswith(f"{path}:"):
            raise
        raise PromptError(f"{path}:1: {error.message}", hint=error.hint, code=error.code) from None
    for line, role, content in found:
        if role == PLACEHOLDER:
            continue
        _check_template(spec, role, content, path, line)
    return spec


def _chain(front: PlainYaml, lines: list[str], body_start: int, path: str) -> ChainSpec:
    reader = _FrontMatter(front, path, CHAIN_KEYS)
    for number, line in enumerate(lines[body_start:], body_start + 1):
        if line.strip():
            raise PromptError(
                f"{path}:{number}: text in a chain", hint="its steps say everything; put notes in metadata"
            )
    try:
        return ChainSpec(
            name=reader.text("name") or name_of(path),
            description=reader.text("description"),
            steps=reader.steps(),
            variables=reader.variables(),
            metadata=reader.mapping("metadata") or {},
        )
    except PromptError as error:
        if error.message.startswith(f"{path}:"):
            raise
        raise PromptError(f"{path}:{front.line('steps')}: {error.message}", hint=error.hint, code=error.code) from None


def _front_matter(lines: list[str], path: str) -> tuple[PlainYaml, int]:
    """Return the YAML between the `---` lines, and the index of the first line after it."""
    if lines[0].rstrip() != "---":
        return PlainYaml({}, {}), 0
    for index in range(1, len(lines)):
        if lines[index].rstrip() == "---":
            try:
                front = parse_yaml("\n".join(lines[1:index]), where=path, first_line=2)
            except BadYaml as error:
                raise PromptError(error.message, hint=error.hint) from None
            return front, index + 1
    raise PromptError(f"{path}:1: the front matter never ends", hint="close it with a line of `---`")


def _sections(lines: list[str], start: int, path: str) -> list[tuple[int, str, str]]:
    """Split the body at its role headings into (line of the text, role, text)."""
    sections: list[tuple[int, str, list[str]]] = []
    for index in range(start, len(lines)):
        line = lines[index]
        heading = _HEADING.fullmatch(line)
        if heading:
            sections.append((index + 2, heading[1], []))
        elif _LOOKS_LIKE_HEADING.fullmatch(line):
            raise PromptError(
                f"{path}:{index + 1}: {line!r} is nearly a role heading",
                hint=f"roles are written `# {'`, `# '.join(ROLES)}`; for this very text write `\\{line.strip()}`",
            )
        elif not sections:
            if line.strip():
                raise PromptError(
                    f"{path}:{index + 1}: text before the first role heading",
                    hint="start with `# system` or `# user`, or say `type: text` in the front matter",
                )
        else:
            sections[-1][2].append(line[1:] if _ESCAPED.fullmatch(line) else line)
    if not sections:
        raise PromptError(
            f"{path}:{start + 1}: the prompt has no message",
            hint="write a heading such as `# system`, and the text below it",
        )
    return [(line, role, "\n".join(content)) for line, role, content in sections]


def _message(role: str, content: str, path: str, line: int) -> PromptMessage:
    try:
        return PromptMessage(role, content)
    except PromptError as error:
        raise PromptError(f"{path}:{line}: {error.message}", hint=error.hint, code=error.code) from None


def _check_template(spec: PromptSpec, role: str, content: str, path: str, line: int) -> None:
    """Compile one message, whatever it includes left out; an error says the line of the file."""
    text = PromptMessage(role, content).text
    first = line + content[: content.index(text.split("\n", 1)[0])].count("\n")
    try:
        compile_prompt([(role, without_includes(text, spec.syntax))], syntax=spec.syntax, variables=spec.variables)
    except PromptError as error:
        inner = re.match(r"message 1 \(\w+\)(?:, line (\d+))?[:,] ?(.*)", error.message, re.DOTALL)
        at = first + int(inner[1] or 1) - 1 if inner else first
        raise PromptError(
            f"{path}:{at}: {inner[2] if inner else error.message}", hint=error.hint, code=error.code
        ) from None


class _FrontMatter:
    """Read known keys of the front matter; refuse others by line."""

    def __init__(self, front: PlainYaml, path: str, known: tuple[str, ...]) -> None:
        self._front, self._path = front, path
        value = {} if front.value is None else front.value
        if not isinstance(value, dict):
            raise PromptError(f"{path}:{front.line()}: the front matter is no mapping", hint="write `name: …` lines")
        self._value: dict[str, Any] = value
        self._refuse_unknown(value, known)

    def fail(self, message: str, hint: str, *at: str | int) -> PromptError:
        return PromptError(f"{self._path}:{self._front.line(*at)}: {message}", hint=hint)

    def text(self, key: str) -> str:
        value = self._value.get(key)
        if value is None:
            return ""
        if not isinstance(value, str):
            raise self.fail(f"`{key}` is no text", "put it between quotes", key)
        return value

    def choice(self, key: str, choices: tuple[str, ...], default: str) -> str:
        value = self._value.get(key, default)
        if value not in choices:
            raise self.fail(f"`{key}` is {value!r}", f"it is one of {', '.join(choices)}", key)
        return str(value)

    def mapping(self, key: str) -> dict[str, Any] | None:
        value = self._value.get(key)
        if value is not None and not isinstance(value, dict):
            raise self.fail(f"`{key}` is no mapping", "write `key: value` lines below it", key)
        return value

    def tools(self) -> tuple[dict[str, Any], ...]:
        value = self._value.get("tools")
        if value is None:
            return ()
        if not isinstance(value, list) or not all(isinstance(tool, dict) for tool in value):
            raise self.fail("`tools` is no list of mappings", "write `- name: …`", "tools")
        return tuple(value)

    def steps(self) -> tuple[ChainStep, ...]:
        value = self._value.get("steps")
        if not isinstance(value, list) or not all(isinstance(step, dict) for step in value):
            raise self.fail("`steps` is no list of mappings", "write `- name: …`", "steps")
        return tuple(self._step(number, step) for number, step in enumerate(value))

    def _step(self, number: int, step: dict[str, Any]) -> ChainStep:
        self._refuse_unknown(step, STEP_KEYS, "steps", number)
        inputs = step.get("inputs") or {}
        texts = [step.get("name"), step.get("prompt"), *(inputs.values() if isinstance(inputs, dict) else [None])]
        if not all(isinstance(text, str) for text in texts):
            raise self.fail(
                "a step has a name, a prompt, and inputs that name their sources",
                "write {name: draft, prompt: support-draft@^1, inputs: {question: variables.question}}",
                "steps", number,
            )  # fmt: skip
        return ChainStep(step["name"], step["prompt"], inputs)

    def variables(self) -> tuple[VariableSpec, ...]:
        return tuple(self._variable(name, value) for name, value in (self.mapping("variables") or {}).items())

    def _variable(self, name: str, value: Any) -> VariableSpec:
        at = ("variables", name)
        if isinstance(value, str) and value in VARIABLE_TYPES:
            value = {"type": value}
        if value is None:
            value = {}
        if not isinstance(value, dict):
            raise self.fail(
                f"the variable {name!r} is {value!r}", f"write a type ({', '.join(VARIABLE_TYPES)}) or a mapping", *at
            )
        self._refuse_unknown(value, VARIABLE_KEYS, *at)
        description = value.get("description", "")
        if not isinstance(description, str):
            raise self.fail(f"the description of {name!r} is no text", "put it between quotes", *at, "description")
        try:
            return VariableSpec(name, value.get("type", "string"), value.get("default", REQUIRED), description)
        except TetradError as error:
            raise self.fail(error.message, error.hint, *at) from None

    def _refuse_unknown(self, value: Mapping[str, Any], known: tuple[str, ...], *at: str | int) -> None:
        for key in value:
            if key not in known:
                near = difflib.get_close_matches(key, known, 1)
                hint = f"did you mean `{near[0]}`?" if near else f"keys are {', '.join(known)}"
                raise self.fail(f"the key `{key}` is unknown", hint, *at, key)


def name_of(path: str) -> str:
    """Name a prompt after its file: `prompts/Support Triage.md` is `support-triage`."""
    stem = path.replace("\\", "/").rsplit("/", 1)[-1].rsplit(".", 1)[0].lower()
    return re.sub(r"[^a-z0-9]+", "-", stem).strip("-") or "prompt"


def format_prompt_file(spec: PromptSpec | ChainSpec) -> str:
    """Write a prompt or chain as a file; reading it gives back an equal `spec.source`: a file pins no digests."""
    front: dict[str, Any] = {"name": spec.name}
    if spec.description:
        front["description"] = spec.description
    if isinstance(spec, ChainSpec):
        front["type"] = "chain"
        if spec.variables:
            front["variables"] = {variable.name: variable_front(variable) for variable in spec.variables}
        front["steps"] = [
            {"name": step.name, "prompt": step.prompt} | ({"inputs": dict(step.inputs)} if step.inputs else {})
            for step in spec.steps
        ]
        if spec.metadata:
            front["metadata"] = spec.metadata
        return "---\n" + "".join(yaml_lines(front, 0)) + "---\n"
    if spec.type != "chat":
        front["type"] = spec.type
    if spec.syntax != "mustache":
        front["syntax"] = spec.syntax
    if spec.variables:
        front["variables"] = {variable.name: variable_front(variable) for variable in spec.variables}
    if spec.output_schema is not None:
        front["output_schema"] = spec.output_schema
    if spec.tools:
        front["tools"] = list(spec.tools)
    if spec.params:
        front["params"] = spec.params
    if spec.examples:
        front["examples"] = spec.examples
    if spec.metadata:
        front["metadata"] = spec.metadata
    head = "---\n" + "".join(yaml_lines(front, 0)) + "---\n"
    if spec.type == "text":
        return f"{head}\n{spec.messages[0].text}\n"
    return head + "\n".join(f"# {message.role}\n\n{_escaped(message.text)}\n" for message in spec.messages)


def _escaped(text: str) -> str:
    return "\n".join(
        "\\" + line if _LOOKS_LIKE_HEADING.fullmatch(line) or _ESCAPED.fullmatch(line) else line
        for line in text.split("\n")
    )


def variable_front(variable: VariableSpec) -> dict[str, Any]:
    """Return a variable as front matter says it."""
    front: dict[str, Any] = {"type": variable.type}
    if not variable.required:
        front["default"] = variable.default
    if variable.description:
        front["description"] = variable.description
    return front


def yaml_lines(value: Mapping[str, Any], depth: int) -> list[str]:
    """Write a mapping in block style, down to what fits a line as JSON (which is YAML)."""
    lines = []
    for key, item in value.items():
        name = "  " * depth + _yaml_scalar(key)
        if isinstance(item, Mapping) and item and depth < 8:
            lines += [f"{name}:\n", *yaml_lines(item, depth + 1)]
        elif isinstance(item, (list, tuple)) and item:
            lines += [f"{name}:\n", *("  " * (depth + 1) + f"- {_yaml_scalar(entry)}\n" for entry in item)]
        else:
            lines.append(f"{name}: {_yaml_scalar(item)}\n")
    return lines


def _yaml_scalar(value: Any) -> str:
    if isinstance(value, str) and _PLAIN.fullmatch(value) and value.lower() not in _WORDS:
        return value
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, default=_plain_json)
    return _UNSAFE.sub(lambda found: f"\\u{ord(found.group()):04x}", text)


def _plain_json(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(type(value).__name__)
