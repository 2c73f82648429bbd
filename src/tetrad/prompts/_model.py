"""A prompt as a value: what it says, what it takes, what it promises; its digest and the digest of its contract."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Final, Literal

from tetrad.kernel import Digest, NotCanonical, canonical_json, digest_json
from tetrad.prompts._limits import MAX_MESSAGES, MAX_TEMPLATE_CHARS
from tetrad.prompts._reference import parse_reference
from tetrad.prompts._variables import NAME as VARIABLE_NAME
from tetrad.prompts._variables import REQUIRED, VariableSpec
from tetrad.prompts.errors import PromptError, past_limit

Syntax = Literal["mustache", "jinja2"]
PromptType = Literal["chat", "text"]
SYNTAXES: Final = ("mustache", "jinja2")
TYPES: Final = ("chat", "text")
ROLES: Final = ("system", "developer", "user", "assistant")
PLACEHOLDER: Final = "placeholder"
"""The role of a message that stands for a list of messages; its text is the name of what it stands for."""
CLIENT_MESSAGES: Final = "messages"
"""The placeholder of the messages that come with a request."""

PROMPT_SCHEMA: Final = "tetrad.prompt/1"
CONTRACT_SCHEMA: Final = "tetrad.prompt.contract/1"
NAME: Final = re.compile(r"[a-z0-9]+(?:[._-][a-z0-9]+)*")
MAX_NAME_CHARS: Final = 128
_NOT_PARAMS: Final = frozenset({"model", "messages", "stream", "stream_options", "tools", "response_format"})
_OUTER_BLANKS = re.compile(r"\A(?:[ \t]*\n)+|[ \t\n]+\Z")


@dataclass(frozen=True, slots=True)
class PromptMessage:
    """One message: a role and a template. Blank lines around the text are not part of it; lines end in LF.

    With the role `placeholder` it stands for a list of messages: those that the variable of that name holds, or, where
    its text is `messages`, those that come with the request.
    """

    role: str
    text: str

    def __post_init__(self) -> None:
        if self.role not in (*ROLES, PLACEHOLDER):
            raise PromptError(f"{self.role!r} is no role of a prompt's message", hint=f"roles are {', '.join(ROLES)}")
        text = _OUTER_BLANKS.sub("", self.text.replace("\r\n", "\n").replace("\r", "\n"))
        if not text:
            raise PromptError(f"the {self.role} message is empty", hint="write its text, or remove it")
        if len(text) > MAX_TEMPLATE_CHARS:
            raise past_limit(
                f"the {self.role} message has {len(text):,} characters", hint=f"at most {MAX_TEMPLATE_CHARS:,}"
            )
        if self.role == PLACEHOLDER:
            text = text.strip()
            if not VARIABLE_NAME.fullmatch(text):
                raise PromptError(
                    f"the placeholder {text[:60]!r} names no variable",
                    hint="write the name of an array of messages, or `messages` for those of the request",
                )
        object.__setattr__(self, "text", text)


@dataclass(frozen=True, slots=True)
class PromptSpec:
    """A prompt, immutable; `name` names it for people and is not part of its digest.

    A `chat` prompt is a list of messages, a `text` prompt is one message that is sent as `user`. `output_schema` is a
    JSON Schema; `tools` are `{"name", "description", "parameters"}`; `params` are defaults of the request. `examples`
    names a dataset of few-shot examples (`name@^1`). `includes` pins what the templates include, (reference, digest);
    a prompt that was only read from a file has none.
    """

    name: str
    messages: tuple[PromptMessage, ...]
    type: PromptType = "chat"
    syntax: Syntax = "mustache"
    variables: tuple[VariableSpec, ...] = ()
    output_schema: Mapping[str, Any] | None = None
    tools: tuple[Mapping[str, Any], ...] = ()
    params: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    metadata: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    description: str = ""
    examples: str = ""
    includes: tuple[tuple[str, Digest], ...] = ()

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name) or len(self.name) > MAX_NAME_CHARS:
            raise PromptError(
                f"{self.name!r} is no name for a prompt",
                hint="lower-case letters, digits and `.`, `_`, `-` between them, such as `support-triage`",
            )
        if self.type not in TYPES:
            raise PromptError(f"the prompt type {self.type!r} is unknown", hint="types are chat and text")
        if self.syntax not in SYNTAXES:
            raise PromptError(
                f"the template syntax {self.syntax!r} is unknown", hint="syntaxes are mustache and jinja2"
            )
        if not self.messages:
            raise PromptError(f"the prompt {self.name!r} has no message", hint="write one")
        if len(self.messages) > MAX_MESSAGES:
            raise past_limit(f"a prompt of {len(self.messages)} messages", hint=f"at most {MAX_MESSAGES}")
        if self.type == "text" and [message.role for message in self.messages] != ["user"]:
            raise PromptError("a text prompt is one message of the user", hint="use `type: chat` for roles")
        if self.output_schema is not None and not self.output_schema:
            object.__setattr__(self, "output_schema", None)  # an empty schema accepts everything, as none does
        if self.examples:
            parse_reference(self.examples, what="a dataset")
        self._check_names()
        check_placeholders(self.messages, {variable.name: variable.type for variable in self.variables})
        self._check_tools()
        self._check_params()
        try:
            canonical_json(self.document())
        except NotCanonical as error:
            raise PromptError(
                f"the prompt {self.name!r} has no canonical form: {error.message}", hint=error.hint
            ) from None

    def _check_names(self) -> None:
        seen: set[str] = set()
        for variable in self.variables:
            if variable.name in seen:
                raise PromptError(f"the variable {variable.name!r} is declared twice", hint="keep one of them")
            seen.add(variable.name)

    def _check_tools(self) -> None:
        names: set[str] = set()
        for tool in self.tools:
            name = tool.get("name")
            if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name):
                raise PromptError(f"a tool has the name {name!r}", hint="1 to 64 letters, digits, `_` and `-`")
            if unknown := set(tool) - {"name", "description", "parameters"}:
                raise PromptError(
                    f"the tool {name!r} has the key {min(unknown)!r}", hint="keys are name, description, parameters"
                )
            if not isinstance(tool.get("parameters", {}), Mapping):
                raise PromptError(f"the parameters of the tool {name!r} are no object", hint="give a JSON Schema")
            if name in names:
                raise PromptError(f"the tool {name!r} is declared twice", hint="keep one of them")
            names.add(name)

    def _check_params(self) -> None:
        for name in self.params:
            if name in _NOT_PARAMS:
                raise PromptError(
                    f"{name!r} is no default that a prompt can set", hint="it belongs to the app or the call"
                )

    @property
    def roles(self) -> tuple[str, ...]:
        """The roles of the messages in their order."""
        return tuple(message.role for message in self.messages)

    def pairs(self) -> list[tuple[str, str]]:
        """Return (role, template) pairs, as `compile_prompt` takes them."""
        return [(message.role, message.text) for message in self.messages]

    def document(self) -> dict[str, Any]:
        """Return the JSON document whose canonical bytes are the prompt artifact; absent things are left out."""
        document: dict[str, Any] = {
            "schema": PROMPT_SCHEMA,
            "type": self.type,
            "syntax": self.syntax,
            "messages": [{"role": message.role, "content": message.text} for message in self.messages],
        }
        optional: dict[str, Any] = {
            "variables": [variable_document(variable) for variable in _by_name(self.variables)],
            "output_schema": self.output_schema,
            "tools": [dict(tool) for tool in sorted(self.tools, key=lambda tool: str(tool["name"]))],
            "params": dict(self.params),
            "metadata": dict(self.metadata),
            "description": self.description,
            "examples": self.examples,
            "includes": [{"ref": ref, "digest": digest} for ref, digest in sorted(self.includes)],
        }
        return document | {name: value for name, value in optional.items() if value not in ([], {}, "", None)}

    def contract_document(self) -> dict[str, Any]:
        """Return what callers and readers of the answer rely on: variables, output schema, tools, roles."""
        return {
            "schema": CONTRACT_SCHEMA,
            "type": self.type,
            "syntax": self.syntax,
            "roles": [
                f"{PLACEHOLDER}:{message.text}" if message.role == PLACEHOLDER else message.role
                for message in self.messages
            ],
            "variables": [
                {"name": variable.name, "type": variable.type, "required": variable.required}
                for variable in _by_name(self.variables)
            ],
            "output_schema": self.output_schema,
            "tools": [dict(tool) for tool in sorted(self.tools, key=lambda tool: str(tool["name"]))],
        }

    @property
    def digest(self) -> Digest:
        """Its identity: the digest of `document()`."""
        return digest_json(self.document())

    @property
    def contract_digest(self) -> Digest:
        """The digest of `contract_document()`: two prompts with the same one can stand for each other."""
        return digest_json(self.contract_document())

    @property
    def source(self) -> PromptSpec:
        """The prompt as its file says it: without the digests of what it includes."""
        return replace(self, includes=()) if self.includes else self


def prompt_from_document(name: str, document: Mapping[str, Any]) -> PromptSpec:
    """Return the prompt that a stored document holds; the inverse of `PromptSpec.document`."""
    if document.get("schema") != PROMPT_SCHEMA:
        raise PromptError(
            f"the prompt {name!r} has the schema {document.get('schema')!r}", hint=f"this version reads {PROMPT_SCHEMA}"
        )
    return PromptSpec(
        name=name,
        type=document["type"],
        syntax=document["syntax"],
        messages=tuple(PromptMessage(item["role"], item["content"]) for item in document["messages"]),
        variables=tuple(
            VariableSpec(
                item["name"], item["type"], item.get("default", REQUIRED), description=item.get("description", "")
            )
            for item in document.get("variables", ())
        ),
        output_schema=document.get("output_schema"),
        tools=tuple(document.get("tools", ())),
        params=document.get("params", {}),
        metadata=document.get("metadata", {}),
        description=document.get("description", ""),
        examples=document.get("examples", ""),
        includes=tuple((item["ref"], Digest(item["digest"])) for item in document.get("includes", ())),
    )


def check_placeholders(messages: Sequence[PromptMessage], types: Mapping[str, str]) -> None:
    """Refuse a placeholder that names no array, and a second place for the messages of the request."""
    names = [message.text for message in messages if message.role == PLACEHOLDER]
    if names.count(CLIENT_MESSAGES) > 1:
        raise PromptError("the messages of the request have two places", hint="keep one placeholder `messages`")
    for name in names:
        if name == CLIENT_MESSAGES:
            if name in types:
                raise PromptError(
                    f"the placeholder {name!r} is the request's messages, and a variable has its name",
                    hint="give the variable another name",
                )
        elif types.get(name) != "array":
            is_what = f"is declared as {types[name]}" if name in types else "is not declared"
            raise PromptError(
                f"the placeholder {name!r} {is_what}", hint=f"declare the variable `{name}: {{type: array}}`"
            )


def _by_name(variables: tuple[VariableSpec, ...]) -> list[VariableSpec]:
    return sorted(variables, key=lambda variable: variable.name)


def variable_document(variable: VariableSpec) -> dict[str, Any]:
    document: dict[str, Any] = {"name": variable.name, "type": variable.type}
    if variable.default is not REQUIRED:
        document["default"] = variable.default
    if variable.description:
        document["description"] = variable.description
    return document
