"""What files of weights, and the files beside them, say of themselves."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import Any, BinaryIO

import msgspec

from tetrad.kernel import Digest, digest_bytes, digest_json
from tetrad.kit.safetensors import BadSafetensors, SafetensorsHeader, Tensor, read_safetensors_from
from tetrad.models._model import AdapterFacts, WeightsFacts
from tetrad.models.errors import BadModel, PickledWeights
from tetrad.models.ports import Source

MAX_SIDE_BYTES = 64 << 20  # tokenizers of large vocabularies are tens of megabytes
MAX_CONFIG_BYTES = 4 << 20
FORMATS = {".safetensors": "safetensors", ".gguf": "gguf", ".onnx": "onnx"}
PICKLED = frozenset({".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle"})
ADAPTER_CONFIG = "adapter_config.json"
_SHARD = re.compile(r"(.*)-(\d{5})-of-(\d{5})(\.[a-z]+)")
_MODULE = re.compile(r"(?:base_model\.model\.)?(.+)\.lora_([AB])(?:\.[^.]+){0,2}")
_PICKLE_MAGIC = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05", b"PK\x03\x04")  # torch writes pickles in a zip


def is_weights(path: str) -> bool:
    """Tell by its name whether a file holds weights, and is not one of the files beside them."""
    suffix = PurePosixPath(path).suffix.lower()
    return suffix in FORMATS or suffix in PICKLED


def read_weights(sources: Mapping[str, Source], *, allow_pickle: bool = False) -> WeightsFacts:
    """Return the facts of a model's files, by path; raises `BadModel` where they are damaged or do not fit together.

    Headers and configuration are read, weights never are. Pickled weights run code where they are loaded: they raise
    `PickledWeights` unless they are allowed, and then are said to be such.
    """
    weights = sorted(path for path in sources if is_weights(path)) or sorted(sources)
    pickled = [path for path in weights if _is_pickled(path, sources[path])]
    if pickled and not allow_pickle:
        raise PickledWeights(
            f"{pickled[0]!r} is pickled: whoever loads it runs code of whoever made it",
            hint="convert it to safetensors; --allow-pickle takes it as it is and says so",
        )
    _check_shards(weights)
    suffix = PurePosixPath(weights[0]).suffix.lower()
    if suffix == ".gguf" or _begins(sources[weights[0]], 4) == b"GGUF":
        facts = _gguf(weights, sources)
    elif suffix == ".safetensors":
        facts = _safetensors(weights, sources)
    else:
        facts = WeightsFacts(format="pytorch" if pickled else FORMATS.get(suffix, ""))
    return _with_side_files(msgspec.structs.replace(facts, pickled=bool(pickled)), sources)


def _begins(source: Source, count: int) -> bytes:
    with source() as file:
        return file.read(count)


def _is_pickled(path: str, source: Source) -> bool:
    suffix = PurePosixPath(path).suffix.lower()
    if suffix in (".safetensors", ".gguf"):  # their readers refuse all else, and a length may look like a pickle
        return False
    return suffix in PICKLED or _begins(source, 4).startswith(_PICKLE_MAGIC)


def _check_shards(weights: list[str]) -> None:
    for path in weights:
        if match := _SHARD.fullmatch(path):
            head, _, count, suffix = match.groups()
            wanted = int(count)
            there = {number for number in range(1, wanted + 1) if f"{head}-{number:05}-of-{count}{suffix}" in weights}
            if len(there) != wanted:
                first = next(number for number in range(1, wanted + 1) if number not in there)
                raise BadModel(f"{head}-{first:05}-of-{count}{suffix} is missing", hint="fetch all files of the model")


@contextmanager
def _opened(source: Source) -> Iterator[tuple[BinaryIO, int]]:
    with source() as file:
        size = file.seek(0, 2)
        file.seek(0)
        yield file, size


def _gguf(weights: list[str], sources: Mapping[str, Source]) -> WeightsFacts:
    from tetrad.kit.gguf import BadGguf, read_gguf_from

    headers = []
    for path in weights:
        with _opened(sources[path]) as (file, size):
            try:
                headers.append(read_gguf_from(file, size, path))
            except BadGguf as error:
                raise BadModel(error.message, hint=error.hint) from None
    header = headers[0]
    adapter = None
    if header.text("general.type") == "adapter":
        alpha = header.metadata.get("adapter.lora.alpha", 0.0)
        adapter = AdapterFacts(
            header.text("adapter.type"),
            alpha=float(alpha) if isinstance(alpha, int | float) else 0.0,
            base_model=header.text("general.base_model.0.name"),
        )
    return WeightsFacts(
        format="gguf",
        architecture=header.architecture,
        parameters=sum(each.parameters for each in headers),
        quantisation=header.quantisation,
        context_length=header.context_length,
        licence=header.licence,
        tokenizer=header.tokenizer,
        chat_template=header.chat_template,
        details={
            "name": header.name,
            "tensors": sum(each.tensors for each in headers),
            "gguf_version": header.version,
        },
        adapter=adapter,
    )


def safetensors_of(path: str, source: Source) -> SafetensorsHeader:
    """Return the header of one file; raises `BadModel`."""
    with _opened(source) as (file, size):
        try:
            return read_safetensors_from(file, size, path)
        except BadSafetensors as error:
            raise BadModel(error.message, hint=error.hint) from None


def tensors_of(sources: Mapping[str, Source]) -> dict[str, Tensor]:
    """Return the tensors of all safetensors files, by name."""
    found: dict[str, Tensor] = {}
    for path in sorted(sources):
        if path.endswith(".safetensors"):
            found.update(safetensors_of(path, sources[path]).tensors)
    return found


def _safetensors(weights: list[str], sources: Mapping[str, Source]) -> WeightsFacts:
    where: dict[str, str] = {}
    dtypes: dict[str, int] = {}
    for path in weights:
        if not path.endswith(".safetensors"):
            continue
        header = safetensors_of(path, sources[path])
        for name in header.tensors:
            if name in where:
                raise BadModel(
                    f"the tensor {name[:80]!r} is in {where[name]!r} and in {path!r}",
                    hint="name the files of one model only",
                )
            where[name] = path
        for dtype, count in header.dtypes.items():
            dtypes[dtype] = dtypes.get(dtype, 0) + count
    for path in sorted(sources):
        if path.endswith(".safetensors.index.json"):
            _check_index(path, sources[path], where)
    return WeightsFacts(
        format="safetensors",
        parameters=sum(dtypes.values()),
        quantisation=max(dtypes, key=lambda dtype: dtypes[dtype]) if dtypes else "",
        dtypes=dtypes,
        details={"tensors": len(where)},
    )


def _check_index(path: str, source: Source, where: Mapping[str, str]) -> None:
    listed = _json(path, source, MAX_SIDE_BYTES).get("weight_map")
    if not isinstance(listed, dict):
        raise BadModel(f"{path!r} has no weight_map", hint="fetch the file again")
    folder = path.rpartition("/")[0]
    for name, file in listed.items():
        wanted = f"{folder}/{file}" if folder else file
        if where.get(name) != wanted:
            raise BadModel(
                f"{path!r} says that {str(file)[:80]!r} has the tensor {name[:80]!r}, which it has not",
                hint="fetch all files of the model",
            )
    if unlisted := sorted(set(where) - set(listed)):
        raise BadModel(f"{path!r} does not list the tensor {unlisted[0][:80]!r}", hint="fetch all files of the model")


def _bytes(path: str, source: Source, most: int) -> bytes:
    with source() as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise BadModel(f"{path!r} has more than {most} bytes", hint="it is no such file")
    return data


def _json(path: str, source: Source, most: int = MAX_CONFIG_BYTES) -> dict[str, Any]:
    try:
        value = json.loads(_bytes(path, source, most))
    except (ValueError, RecursionError):
        raise BadModel(f"{path!r} is no JSON", hint="fetch the file again") from None
    if not isinstance(value, dict):
        raise BadModel(f"{path!r} is no JSON object", hint="fetch the file again")
    return value


def _with_side_files(facts: WeightsFacts, sources: Mapping[str, Source]) -> WeightsFacts:
    beside = {path: source for path, source in sources.items() if "/" not in path}
    if "config.json" in beside:
        facts = _with_config(facts, beside["config.json"])
    if "tokenizer.json" in beside and facts.tokenizer is None:
        data = _bytes("tokenizer.json", beside["tokenizer.json"], MAX_SIDE_BYTES)
        facts = msgspec.structs.replace(facts, tokenizer=digest_bytes(data))
    if (template := _chat_template(beside)) is not None:
        facts = msgspec.structs.replace(facts, chat_template=template)
    if ADAPTER_CONFIG in beside:
        facts = msgspec.structs.replace(facts, adapter=_peft(_json(ADAPTER_CONFIG, beside[ADAPTER_CONFIG])))
    return facts


def _with_config(facts: WeightsFacts, source: Source) -> WeightsFacts:
    config = _json("config.json", source)
    named = config.get("architectures")
    architecture = named[0] if isinstance(named, list) and named else config.get("model_type", "")
    length = config.get("max_position_embeddings", 0)
    quantised = config.get("quantization_config")
    method = quantised.get("quant_method", "") if isinstance(quantised, dict) else ""
    return msgspec.structs.replace(
        facts,
        architecture=facts.architecture or (architecture[:128] if isinstance(architecture, str) else ""),
        context_length=facts.context_length or (length if isinstance(length, int) and 0 < length < 2**31 else 0),
        quantisation=method[:32] if isinstance(method, str) and method else facts.quantisation,
        config=digest_bytes(_bytes("config.json", source, MAX_CONFIG_BYTES)),
    )


def _chat_template(beside: Mapping[str, Source]) -> Digest | None:
    """The digest of the template's text, as of the one in a GGUF file; of the whole list where there are several."""
    if "chat_template.jinja" in beside:
        return digest_bytes(_bytes("chat_template.jinja", beside["chat_template.jinja"], MAX_CONFIG_BYTES))
    for path in ("chat_template.json", "tokenizer_config.json"):
        if path in beside:
            template = _json(path, beside[path], MAX_SIDE_BYTES).get("chat_template")
            if isinstance(template, str):
                return digest_bytes(template.encode("utf-8", "surrogatepass"))
            if isinstance(template, list):
                return digest_json(template)
    return None


def _peft(config: Mapping[str, Any]) -> AdapterFacts:
    rank, alpha, targets = config.get("r", 0), config.get("lora_alpha", 0), config.get("target_modules") or []
    named = sorted(str(each) for each in targets) if isinstance(targets, list) else [str(targets)]
    base = config.get("base_model_name_or_path")
    return AdapterFacts(
        str(config.get("peft_type", "")).lower()[:32],
        rank if isinstance(rank, int) and 0 <= rank < 2**31 else 0,
        float(alpha) if isinstance(alpha, int | float) else 0.0,
        tuple(each[:128] for each in named[:200]),
        base[:256] if isinstance(base, str) else "",
    )


def check_base(adapter: Mapping[str, Tensor], base: Mapping[str, Tensor]) -> int:
    """Compare the matrices of a LoRA adapter with those of its base; return how many fit.

    `lora_A` has as many columns as the base's matrix, `lora_B` as many rows. Raises `BadModel` for the first that does
    not fit, or where no module of the adapter is in the base.
    """
    fitting = asked = 0
    for name, tensor in sorted(adapter.items()):
        match = _MODULE.fullmatch(name)
        if match is None or len(tensor.shape) != 2:
            continue
        module, side = match.groups()
        asked += 1
        found = base.get(f"{module}.weight") or base.get(f"model.{module}.weight")
        if found is None or len(found.shape) != 2:
            continue
        rows, columns = found.shape
        if (tensor.shape[1] != columns) if side == "A" else (tensor.shape[0] != rows):
            raise BadModel(
                f"the adapter's {name[:120]!r} has the shape {tensor.shape}, its base's matrix {found.shape}",
                hint="it was trained on another model; name that one as its base",
            )
        fitting += 1
    if asked and not fitting:
        raise BadModel("no module of the adapter is in its base", hint="name the model that it was trained on")
    return fitting
