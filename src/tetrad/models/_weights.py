"""What files of weights say of themselves."""

from __future__ import annotations

from pathlib import Path

from tetrad.models._model import WeightsFacts
from tetrad.models.errors import BadModel

_FORMATS = {".safetensors": "safetensors", ".onnx": "onnx", ".bin": "pytorch", ".pt": "pytorch"}


def read_weights(path: Path) -> WeightsFacts:
    """Return the facts of a GGUF file from its header, of other files the format that their name tells."""
    from tetrad.kit.gguf import MAGIC, BadGguf, read_gguf

    with path.open("rb") as file:
        magic = file.read(4)
    if magic != MAGIC:
        if path.suffix == ".gguf":
            raise BadModel(f"{path.name!r} is no GGUF file", hint="the download may be cut off; fetch it again")
        return WeightsFacts(format=_FORMATS.get(path.suffix, ""))
    try:
        header = read_gguf(path)
    except BadGguf as error:
        raise BadModel(error.message, hint=error.hint) from None
    return WeightsFacts(
        format="gguf",
        architecture=header.architecture,
        parameters=header.parameters,
        quantisation=header.quantisation,
        context_length=header.context_length,
        licence=header.licence,
        tokenizer=header.tokenizer,
        chat_template=header.chat_template,
        details={"name": header.name, "tensors": header.tensors, "gguf_version": header.version},
    )
