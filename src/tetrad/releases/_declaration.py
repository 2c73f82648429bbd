"""`tetrad.yaml`: what an app declares itself to be made of."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec
import yaml

from tetrad.code import check_path
from tetrad.datasets import ROLES as DATA_ROLES
from tetrad.kernel import TetradError, canonical_json
from tetrad.models import check_label
from tetrad.registry import BINDINGS, BadName, SemVer, check_name, check_simple_name
from tetrad.releases._engine_requirement import (
    MAX_CONTEXT,
    MAX_VERSION_CHARS,
    MIN_CONTEXT,
    EngineRequirement,
    is_version_requirement,
)
from tetrad.releases._engine_requirement import NAME as ENGINE_NAME
from tetrad.releases._yaml import Reader

FILE = "tetrad.yaml"
MODEL_ROLES = ("primary", "draft", "embedder", "reranker", "judge", "guard", "step")
PROMPT_ROLES = ("system",)
FIELDS = ("app", "description", "code", "data", "model", "prompt", "sampling", "steps")
MAX_PARTS = 50
MAX_ADAPTERS = 16
MAX_SCALE = 100
MAX_DESCRIPTION_CHARS = 2000
RESERVED_PARAMS = frozenset({"model", "messages", "stream", "stream_options", "input", "user", "metadata", "tetrad"})
_PARAM = re.compile(r"[a-z][a-z0-9_]{0,63}")


class CodePart(msgspec.Struct, frozen=True):
    """Where the app's own code lies, its lock file, and what it declares to run on."""

    path: str = "."
    lock: str | None = None
    runtime: Mapping[str, str] = {}


class DataPart(msgspec.Struct, frozen=True):
    """A dataset in a role: rows in a file of the folder, or a version that the project has."""

    role: str
    name: str
    file: str = ""
    version: str = ""
    key: str | None = None
    line: int = 0


class AdapterPart(msgspec.Struct, frozen=True):
    """An adapter that a model of the app is loaded with, and how strongly it counts."""

    name: str
    version: str = ""
    scale: float = 1
    line: int = 0


class ModelPart(msgspec.Struct, frozen=True):
    """A model of the project in a role; the newest version unless a number or an alias is given.

    `engine` is what is to serve it, `adapters` what it is loaded with.
    """

    role: str
    name: str
    version: str = ""
    line: int = 0
    adapters: tuple[AdapterPart, ...] = ()
    engine: EngineRequirement | None = None


class PromptPart(msgspec.Struct, frozen=True):
    """A prompt in a role: a file of the folder, or a version that the project has."""

    role: str
    name: str
    file: str = ""
    version: str = ""
    line: int = 0


class Declaration(msgspec.Struct, frozen=True):
    """An app as `tetrad.yaml` declares it."""

    app: str
    description: str = ""
    code: CodePart = CodePart()
    data: tuple[DataPart, ...] = ()
    model: tuple[ModelPart, ...] = ()
    prompt: tuple[PromptPart, ...] = ()
    sampling: Mapping[str, Any] = {}
    steps: Mapping[str, str] = {}
    """Which of `model` answers for a step of a chain, by the step's name; the primary one where it is not named."""


def parse_declaration(text: bytes, *, where: str = FILE) -> Declaration:
    """Read a declaration, or refuse with `BadDeclaration` naming line and column of every error.

    The fields are those of the manifest: `app` (required), `description`, `code` {path, lock, runtime}, the lists
    `data` [{role, name, file | version, key}], `model` [{role, name, version, adapters, engine}] (`adapters`: [{name,
    version, scale}], `engine`: {name, version, context}), `prompt` [{role, name, file | version}], `sampling`, and
    `steps` {STEP: {model}} of a chain. A release has exactly one model in the role `primary` and at most one prompt in
    the role `system`.
    """
    reader = Reader(text, where=where)
    top = reader.fields(reader.root, FIELDS, "the declaration")
    if "app" not in top:
        reader.fail(reader.root, "the declaration names no app; write app: my-app")
    declaration = Declaration(
        app=reader.text(top.get("app"), "app", check=_app_name),
        description=reader.text(top.get("description"), "description", longest=MAX_DESCRIPTION_CHARS),
        code=_code(reader, top.get("code")),
        data=tuple(_data(reader, node) for node in reader.items(top.get("data"), "data", MAX_PARTS)),
        model=tuple(_model(reader, node) for node in reader.items(top.get("model"), "model", MAX_PARTS)),
        prompt=tuple(_prompt(reader, node) for node in reader.items(top.get("prompt"), "prompt", MAX_PARTS)),
        sampling=_sampling(reader, top.get("sampling")),
        steps=_steps(reader, top.get("steps")),
    )
    _check_roles(reader, top, declaration)
    reader.finish()
    return declaration


def _check_roles(reader: Reader, top: Mapping[str, yaml.Node], declaration: Declaration) -> None:
    primaries = [part for part in declaration.model if part.role == "primary"]
    if len(primaries) != 1:
        count = "no model has" if not primaries else f"{len(primaries)} models have"
        reader.fail(top.get("model", reader.root), f"{count} the role primary; exactly one must")
    names = {part.name for part in declaration.model}
    for step, model in declaration.steps.items():
        if model and model not in names:
            reader.fail(top["steps"], f"the step {step!r} names the model {model!r}, which is not in `model`")
    for what, parts in (("data", declaration.data), ("model", declaration.model), ("prompt", declaration.prompt)):
        named = [(part.role, part.name) for part in parts if part.name]
        if len(set(named)) != len(named):
            reader.fail(top[what], f"two items of {what} have one role and one name")
    if len([part for part in declaration.prompt if part.role == "system"]) > 1:
        reader.fail(top["prompt"], "two prompts have the role system")


def _code(reader: Reader, node: yaml.Node | None) -> CodePart:
    if node is None:
        return CodePart()
    fields = reader.fields(node, ("path", "lock", "runtime"), "code")
    runtime = reader.fields(fields["runtime"], None, "code.runtime") if "runtime" in fields else {}
    return CodePart(
        reader.text(fields.get("path"), "code.path", longest=1024, check=_folder) or ".",
        reader.text(fields.get("lock"), "code.lock", longest=1024, check=check_path) or None,
        {name: reader.text(value, f"code.runtime.{name}") for name, value in runtime.items()},
    )


def _app_name(name: str) -> None:
    check_simple_name(name, "name of an app")
    if name == BINDINGS:
        raise BadName(f"{name!r} cannot name an app: refs below it bind environments", hint="choose another name")


def _folder(path: str) -> None:
    if path != ".":
        check_path(path)


def _data(reader: Reader, node: yaml.Node) -> DataPart:
    fields = reader.fields(node, ("role", "name", "file", "version", "key"), "an item of data")
    file, version = _file_or_version(reader, node, fields, "data")
    return DataPart(
        _role(reader, node, fields, DATA_ROLES, "data"),
        _name(reader, node, fields, "data"),
        file,
        version,
        reader.text(fields.get("key"), "key", longest=128) or None,
        reader.line(node),
    )


def _model(reader: Reader, node: yaml.Node) -> ModelPart:
    fields = reader.fields(node, ("role", "name", "version", "adapters", "engine"), "an item of model")
    adapters = tuple(_adapter(reader, each) for each in reader.items(fields.get("adapters"), "adapters", MAX_ADAPTERS))
    if len({adapter.name for adapter in adapters}) != len(adapters):
        reader.fail(fields["adapters"], "two adapters of a model have one name")
    return ModelPart(
        _role(reader, node, fields, MODEL_ROLES, "model", default="primary"),
        _name(reader, node, fields, "model"),
        reader.text(fields.get("version"), "version", check=check_label),
        reader.line(node),
        adapters,
        _engine(reader, fields.get("engine")),
    )


def _adapter(reader: Reader, node: yaml.Node) -> AdapterPart:
    fields = reader.fields(node, ("name", "version", "scale"), "an adapter")
    scale = reader.value(fields["scale"]) if "scale" in fields else 1
    if isinstance(scale, bool) or not isinstance(scale, int | float) or not 0 < abs(scale) <= MAX_SCALE:
        reader.fail(fields["scale"], f"the scale of an adapter is a number up to {MAX_SCALE}, and not 0")
        scale = 1
    return AdapterPart(
        _name(reader, node, fields, "model"),
        reader.text(fields.get("version"), "version", check=check_label),
        scale,
        reader.line(node),
    )


def _engine(reader: Reader, node: yaml.Node | None) -> EngineRequirement | None:
    if node is None:
        return None
    fields = reader.fields(node, ("name", "version", "context"), "engine")
    name = reader.text(fields.get("name"), "engine.name", longest=32)
    if "name" not in fields:
        reader.fail(node, "engine has a name, such as llama_cpp")
    elif name and not ENGINE_NAME.fullmatch(name):
        reader.fail(fields["name"], f"{name!r} is no kind of engine; write llama_cpp or the like")
    version = reader.text(fields.get("version"), "engine.version", longest=MAX_VERSION_CHARS)
    if version and not is_version_requirement(version):
        reader.fail(fields["version"], f"{version!r} says no versions; write >=2026.10,<2027")
    context = reader.value(fields["context"]) if "context" in fields else 0
    whole = isinstance(context, int) and not isinstance(context, bool)
    if "context" in fields and not (whole and MIN_CONTEXT <= context <= MAX_CONTEXT):
        reader.fail(fields["context"], f"context is a number of tokens from {MIN_CONTEXT} to {MAX_CONTEXT}")
        context = 0
    return EngineRequirement(name, version, context)


def _prompt(reader: Reader, node: yaml.Node) -> PromptPart:
    fields = reader.fields(node, ("role", "name", "file", "version"), "an item of prompt")
    file, version = _file_or_version(reader, node, fields, "prompt")
    return PromptPart(
        _role(reader, node, fields, PROMPT_ROLES, "prompt", default="system"),
        _name(reader, node, fields, "prompt"),
        file,
        version,
        reader.line(node),
    )


def _role(
    reader: Reader,
    node: yaml.Node,
    fields: Mapping[str, yaml.Node],
    roles: tuple[str, ...],
    what: str,
    default: str = "",
) -> str:
    if "role" not in fields:
        if not default:
            reader.fail(node, f"an item of {what} names its role: {', '.join(roles)}")
        return default
    role = reader.text(fields["role"], "role")
    if role and role not in roles:
        reader.fail(fields["role"], f"{role!r} is no role of {what}; roles are {', '.join(roles)}")
    return role


def _name(reader: Reader, node: yaml.Node, fields: Mapping[str, yaml.Node], what: str) -> str:
    name = reader.text(fields.get("name"), "name", check=lambda text: _checked_name(text, what))
    if not name and "name" not in fields:
        reader.fail(node, f"an item of {what} has a name")
    return name


def _checked_name(name: str, what: str) -> str:
    check = check_name if what == "model" else check_simple_name
    return check(name, f"name of a {what}")


def _file_or_version(reader: Reader, node: yaml.Node, fields: Mapping[str, yaml.Node], what: str) -> tuple[str, str]:
    file = reader.text(fields.get("file"), "file", longest=1024, check=check_path)
    version = reader.text(fields.get("version"), "version", check=SemVer.parse)
    if file and version:
        reader.fail(node, f"an item of {what} names a file or a version, not both")
    if not file and not version and not {"file", "version"} & set(fields):
        reader.fail(node, f"an item of {what} names a file, or the version of one that is there")
    return file, version


def _steps(reader: Reader, node: yaml.Node | None) -> dict[str, str]:
    if node is None:
        return {}
    found = {}
    for name, inner in reader.fields(node, None, "steps").items():
        fields = reader.fields(inner, ("model",), f"steps.{name}")
        if "model" not in fields:
            reader.fail(inner, f"steps.{name} names no model")
        else:
            found[name] = reader.text(fields["model"], f"steps.{name}.model")
    return found


def _sampling(reader: Reader, node: yaml.Node | None) -> dict[str, Any]:
    if node is None:
        return {}
    found: dict[str, Any] = {}
    for name, inner in reader.fields(node, None, "sampling").items():
        if name in RESERVED_PARAMS or not _PARAM.fullmatch(name):
            reader.fail(inner, f"{name!r} is no parameter of sampling; write temperature, max_tokens or the like")
            continue
        found[name] = reader.value(inner)
        try:
            canonical_json(found[name])
        except TetradError as error:
            reader.fail(inner, error.message)
    return found
