"""Small files of weights, written by hand."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from pathlib import Path

from tetrad.kit.safetensors import BITS

Shapes = Mapping[str, tuple[str, tuple[int, ...]]]


def safetensors(tensors: Shapes, metadata: Mapping[str, str] | None = None, *, fill: int = 0) -> bytes:
    """Return a safetensors file; its values are all `fill`."""
    header: dict[str, object] = {"__metadata__": dict(metadata)} if metadata is not None else {}
    end = 0
    for name, (dtype, shape) in tensors.items():
        begin, end = end, end + math.prod(shape) * BITS[dtype] // 8
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes([fill]) * end


def gguf(**metadata: str | float) -> bytes:
    """Return a GGUF file without tensors; `__` in a name stands for a dot."""

    def text(value: str) -> bytes:
        data = value.encode()
        return struct.pack("<Q", len(data)) + data

    def typed(value: str | float) -> bytes:
        if isinstance(value, str):
            return struct.pack("<I", 8) + text(value)
        return struct.pack("<If", 6, value) if isinstance(value, float) else struct.pack("<II", 4, value)

    entries = b"".join(text(key.replace("__", ".")) + typed(value) for key, value in metadata.items())
    return b"GGUF" + struct.pack("<IQQ", 3, 0, len(metadata)) + entries + b"\0" * 64


def hub_folder(folder: Path, *, fill: int = 0) -> Path:
    """Write a model as the Hugging Face hub lays it out: two shards, configuration, tokenizer, chat template, card."""
    folder.mkdir(parents=True, exist_ok=True)
    shards = {
        "model-00001-of-00002.safetensors": {"embed.weight": ("BF16", (8, 4))},
        "model-00002-of-00002.safetensors": {"q_proj.weight": ("BF16", (4, 4)), "norm.weight": ("F32", (4,))},
    }
    for name, tensors in shards.items():
        (folder / name).write_bytes(safetensors(tensors, {"format": "pt"}, fill=fill))
    index = {"metadata": {"total_size": 112}, "weight_map": {t: file for file, ts in shards.items() for t in ts}}
    config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "max_position_embeddings": 2048}
    for name, value in {
        "model.safetensors.index.json": index,
        "config.json": config,
        "tokenizer.json": {"version": "1.0"},
        "tokenizer_config.json": {"chat_template": "{{ messages }}"},
    }.items():
        (folder / name).write_text(json.dumps(value), "utf-8")
    (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n# A model\n", "utf-8")
    return folder


def lora_folder(folder: Path, *, width: int = 4, base: str = "org/base") -> Path:
    """Write a LoRA adapter as PEFT lays it out, for `q_proj` of a model that is `width` wide."""
    folder.mkdir(parents=True, exist_ok=True)
    names = {
        "base_model.model.q_proj.lora_A.weight": ("F32", (2, width)),
        "base_model.model.q_proj.lora_B.weight": ("F32", (width, 2)),
    }
    (folder / "adapter_model.safetensors").write_bytes(safetensors(names, {"format": "pt"}))
    config = {
        "peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["q_proj"], "base_model_name_or_path": base,
    }  # fmt: skip
    (folder / "adapter_config.json").write_text(json.dumps(config), "utf-8")
    return folder
