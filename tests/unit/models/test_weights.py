"""What the files of a model say together, and what is refused of them."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest

from support.weights import gguf, hub_folder, lora_folder, safetensors
from tetrad.kernel import digest_bytes
from tetrad.models import BadModel, PickledWeights, read_weights, spdx_id
from tetrad.models._labels import check_label
from tetrad.models._weights import check_base, tensors_of
from tetrad.models.ports import Source
from tetrad.registry import BadVersion


def sources(folder: Path) -> dict[str, Source]:
    return {path.name: partial(path.open, "rb") for path in folder.iterdir() if path.name != "README.md"}


def test_shards_configuration_and_tokenizer_make_one_model(tmp_path: Path) -> None:
    folder = hub_folder(tmp_path / "m")
    facts = read_weights(sources(folder))
    assert (facts.format, facts.architecture, facts.parameters, facts.quantisation, facts.context_length) == (
        "safetensors",
        "LlamaForCausalLM",
        52,
        "BF16",
        2048,
    )
    assert facts.dtypes == {"BF16": 48, "F32": 4}
    assert facts.config == digest_bytes((folder / "config.json").read_bytes())
    assert facts.tokenizer == digest_bytes((folder / "tokenizer.json").read_bytes())
    assert facts.chat_template == digest_bytes(b"{{ messages }}")
    assert facts.pickled is False


def test_the_template_in_a_file_of_its_own_goes_first(tmp_path: Path) -> None:
    folder = hub_folder(tmp_path / "m")
    (folder / "chat_template.jinja").write_text("T")
    assert read_weights(sources(folder)).chat_template == digest_bytes(b"T")


def test_a_missing_shard_a_wrong_index_and_a_doubled_tensor_are_refused(tmp_path: Path) -> None:
    folder = hub_folder(tmp_path / "m")
    whole = sources(folder)
    with pytest.raises(BadModel, match=r"00001-of-00002\.safetensors is missing"):
        read_weights({name: each for name, each in whole.items() if "00001" not in name})
    index = folder / "model.safetensors.index.json"
    listed = json.loads(index.read_text())
    for change, why in (
        ({"weight_map": {**listed["weight_map"], "extra": "model-00001-of-00002.safetensors"}}, "which it has not"),
        ({"weight_map": {"embed.weight": "model-00001-of-00002.safetensors"}}, "does not list"),
        ({}, "no weight_map"),
        ([], "no JSON object"),
    ):
        index.write_text(json.dumps(change))
        with pytest.raises(BadModel, match=why):
            read_weights(sources(folder))
    index.unlink()
    (folder / "more.safetensors").write_bytes(safetensors({"embed.weight": ("F32", (1,))}))
    with pytest.raises(BadModel, match="is in"):
        read_weights(sources(folder))


@pytest.mark.parametrize("name", ["model.bin", "model.pt", "model.PTH", "m.ckpt", "m.pkl", "odd", "m.onnx"])
def test_pickled_weights_need_to_be_allowed(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"\x80\x04\x95")
    with pytest.raises(PickledWeights, match="runs code") as caught:
        read_weights({name: partial(path.open, "rb")})
    assert "safetensors" in caught.value.hint
    facts = read_weights({name: partial(path.open, "rb")}, allow_pickle=True)
    assert (facts.pickled, facts.format) == (True, "pytorch")


def test_a_header_whose_length_looks_like_a_pickle_is_none(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    name = "n" * (0x0280 - len(safetensors({"": ("F32", (0,))})) + 8)
    path.write_bytes(safetensors({name: ("F32", (0,))}))
    assert path.read_bytes()[:2] == b"\x80\x02"
    assert read_weights({"m.safetensors": partial(path.open, "rb")}).pickled is False


def test_damaged_side_files_are_refused(tmp_path: Path) -> None:
    folder = hub_folder(tmp_path / "m")
    for text in ("not json", "[1]", "[" * 100_000):
        (folder / "config.json").write_text(text)
        with pytest.raises(BadModel, match=r"config\.json"):
            read_weights(sources(folder))
    (folder / "config.json").write_bytes(b" " * (5 << 20))
    with pytest.raises(BadModel, match="more than"):
        read_weights(sources(folder))


def test_odd_values_in_a_configuration_say_nothing(tmp_path: Path) -> None:
    folder = hub_folder(tmp_path / "m")
    (folder / "config.json").write_text(
        '{"architectures": [1], "max_position_embeddings": -4, "quantization_config": 3}'
    )
    facts = read_weights(sources(folder))
    assert (facts.architecture, facts.context_length, facts.quantisation) == ("", 0, "BF16")


def test_adapters_tell_what_they_are(tmp_path: Path) -> None:
    adapter = read_weights(sources(lora_folder(tmp_path / "a"))).adapter
    assert adapter is not None
    assert (adapter.type, adapter.rank, adapter.alpha, adapter.targets, adapter.base_model) == (
        "lora",
        2,
        4.0,
        ("q_proj",),
        "org/base",
    )
    path = tmp_path / "a.gguf"
    path.write_bytes(gguf(general__type="adapter", adapter__type="lora", adapter__lora__alpha=8.0))
    adapter = read_weights({"a.gguf": partial(path.open, "rb")}).adapter
    assert adapter is not None
    assert (adapter.type, adapter.alpha) == ("lora", 8.0)


def test_an_adapter_fits_the_matrices_of_its_base_or_is_refused(tmp_path: Path) -> None:
    base = tensors_of(sources(hub_folder(tmp_path / "m")))
    assert check_base(tensors_of(sources(lora_folder(tmp_path / "fits"))), base) == 2
    with pytest.raises(BadModel, match="has the shape"):
        check_base(tensors_of(sources(lora_folder(tmp_path / "wide", width=6))), base)
    with pytest.raises(BadModel, match="no module"):
        check_base(tensors_of(sources(lora_folder(tmp_path / "a"))), {})


@pytest.mark.parametrize(
    ("text", "known"),
    [
        ("Apache-2.0", "Apache-2.0"),
        ("apache-2.0", "Apache-2.0"),
        (" MIT ", "MIT"),
        ("cc by 4.0", "CC-BY-4.0"),
        ("mit OR apache-2.0", "MIT OR Apache-2.0"),
        ("LicenseRef-Gemma", "LicenseRef-Gemma"),
        ("llama3.1", "unknown"),
        ("mit or llama3.1", "unknown"),
        ("", "unknown"),
    ],
)
def test_licences_are_named_as_spdx_names_them_or_unknown(text: str, known: str) -> None:
    assert spdx_id(text) == known


def test_a_label_is_a_number_or_an_alias() -> None:
    assert [check_label(label) for label in ("1.2.3", "1.0.0-rc.1", "best", "a.b-c_d")] == [
        "1.2.3",
        "1.0.0-rc.1",
        "best",
        "a.b-c_d",
    ]
    with pytest.raises(BadVersion):
        check_label("1.2")
    for bad in ("", "Best", "a/b", "a@b", "a" * 64, "-a", "a-"):
        with pytest.raises(BadModel):
            check_label(bad)
