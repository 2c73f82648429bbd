"""Releases whose model is loaded with adapters, or named by an alias."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from support.apps import YAML, write_app
from support.tetrads import ALICE, Tetrads, wire
from support.weights import hub_folder, lora_folder
from tetrad.kernel import digest_bytes
from tetrad.kit.db import Database
from tetrad.models import ModelNotFound, ModelVersion, Origin
from tetrad.releases import BadDeclaration, BadPart, LockDrift, Unservable
from tetrad.releases._lock import lock_of

MODEL = "  - {name: local/smollm2-135m}\n"


@pytest.fixture
def tetrads(database: Database) -> Tetrads:
    return wire(database)


def taken(
    tetrads: Tetrads, name: str, folder: Path, *, base: ModelVersion | None = None, reason: str = ""
) -> ModelVersion:
    files = {}
    for path in folder.iterdir():
        data = path.read_bytes()
        files[path.name] = digest_bytes(data)
        tetrads.models.receive_file("default", io.BytesIO(data), files[path.name], actor=ALICE)
    return tetrads.models.import_files(
        "default", name, files, actor=ALICE, kind="adapter" if base else "weights", reason=reason,
        origin=Origin(base.digest, "finetune") if base else None,
    )  # fmt: skip


def app(folder: Path, model: str) -> Path:
    assert MODEL in YAML
    return write_app(folder, tetrad_DOT_yaml=YAML.replace(MODEL, model))


def test_a_release_pins_the_adapters_of_its_model_with_their_scales(tetrads: Tetrads, tmp_path: Path) -> None:
    base = taken(tetrads, "base", hub_folder(tmp_path / "m"))
    adapter = taken(tetrads, "ada", lora_folder(tmp_path / "a"), base=base)
    folder = app(tmp_path / "app", "  - {name: base, adapters: [{name: ada, scale: 0.5}]}\n")
    composed = tetrads.releases.compose_folder("default", folder, actor=ALICE, git=False)
    (part,) = composed.manifest["model"]
    assert part["adapters"] == [{"digest": adapter.digest, "scale": 0.5}]
    assert (part["tokenizer"], part["chat_template"]) == (base.record.facts.tokenizer, base.record.facts.chat_template)
    assert (adapter.digest, "adapter") in tetrads.registry.parts("default", composed.digest)
    (activity,) = tetrads.registry.lineage("default", composed.digest, depth=1).activities
    assert (adapter.digest, "adapter:primary") in {(edge.digest, edge.role) for edge in activity.edges}
    lock = lock_of(composed.manifest)
    app(folder, "  - {name: base, adapters: [{name: ada}]}\n")
    with pytest.raises(LockDrift, match="adapters differ"):
        tetrads.releases.compose_folder("default", folder, actor=ALICE, git=False, locked=lock)
    other = tetrads.releases.compose_folder("default", folder, actor=ALICE, git=False)
    assert other.digest != composed.digest
    diff = tetrads.releases.comparisons.diff("default", composed.digest, other.digest)
    assert any("adapters" in change.path for change in diff.config)


def test_without_adapters_a_manifest_says_nothing_of_them(tetrads: Tetrads, tmp_path: Path) -> None:
    tetrads.add_model(tmp_path)
    composed = tetrads.releases.compose_folder("default", write_app(tmp_path / "app"), actor=ALICE, git=False)
    assert "adapters" not in composed.manifest["model"][0]


def test_a_release_with_adapters_is_never_served_without_them(tetrads: Tetrads, tmp_path: Path) -> None:
    base = taken(tetrads, "base", hub_folder(tmp_path / "m"))
    taken(tetrads, "ada", lora_folder(tmp_path / "a"), base=base)
    folder = app(tmp_path / "app", "  - {name: base, adapters: [{name: ada}]}\n")
    composed = tetrads.releases.compose_folder("default", folder, actor=ALICE, git=False)
    with pytest.raises(Unservable, match="1 adapters") as caught:
        tetrads.releases.move_ref(
            "default", "bot", "production", composed.digest, expected=None, actor=ALICE, create=True
        )
    assert "merge" in caught.value.hint
    with pytest.raises(Unservable):
        tetrads.releases.ensure_app("default", folder, actor=ALICE)
    assert tetrads.releases.refs("default", "bot") == []


def test_an_adapter_of_another_base_is_refused(tetrads: Tetrads, tmp_path: Path) -> None:
    base = taken(tetrads, "base", hub_folder(tmp_path / "m"))
    taken(tetrads, "other", hub_folder(tmp_path / "o", fill=1))
    taken(tetrads, "ada", lora_folder(tmp_path / "a"), base=base)
    for model, why in (
        ("  - {name: other, adapters: [{name: ada}]}\n", "of another model"),
        ("  - {name: base, adapters: [{name: other}]}\n", "is no adapter"),
    ):
        folder = app(tmp_path / "app", model)
        with pytest.raises(BadPart, match=why):
            tetrads.releases.compose_folder("default", folder, actor=ALICE, git=False)
    folder = app(tmp_path / "app", "  - {name: base, adapters: [{name: nothing}]}\n")
    with pytest.raises(ModelNotFound):
        tetrads.releases.compose_folder("default", folder, actor=ALICE, git=False)
    for adapters in ("[{name: ada, scale: 0}]", "[{name: ada, scale: high}]", "[{name: ada}, {name: ada}]", "ada"):
        folder = app(tmp_path / "app", f"  - {{name: base, adapters: {adapters}}}\n")
        with pytest.raises(BadDeclaration):
            tetrads.releases.compose_folder("default", folder, actor=ALICE, git=False)


def test_an_alias_resolves_to_a_digest_that_the_lock_keeps(tetrads: Tetrads, tmp_path: Path) -> None:
    one = tetrads.add_model(tmp_path, content=b"one")
    two = tetrads.add_model(tmp_path, content=b"two")
    move = tetrads.models.move_alias
    move("default", "local/smollm2-135m", "best", "1.0.0", actor=ALICE, create=True)
    folder = app(tmp_path / "app", "  - {name: local/smollm2-135m, version: best}\n")
    composed = tetrads.releases.compose_folder("default", folder, actor=ALICE, git=False)
    assert composed.manifest["model"][0]["digest"] == one
    lock = lock_of(composed.manifest)
    move("default", "local/smollm2-135m", "best", "1.1.0", actor=ALICE, expected=one)
    with pytest.raises(LockDrift):
        tetrads.releases.compose_folder("default", folder, actor=ALICE, git=False, locked=lock)
    derived = tetrads.releases.derivations.derive(
        "default", composed.digest, {"model.primary": "local/smollm2-135m@best"}, actor=ALICE
    )
    assert derived.manifest["model"][0]["digest"] == two


def test_a_hosted_models_release_says_how_well_it_can_be_reproduced(tetrads: Tetrads, tmp_path: Path) -> None:
    host = tetrads.models.register_hosted
    host("default", "gpt", provider="openai", model="x", actor=ALICE)
    host("default", "dated", provider="openai", model="x", snapshot="s", immutable=True, actor=ALICE)
    folder = app(tmp_path / "app", "  - {name: gpt}\n")
    (note,) = tetrads.releases.compose_folder("default", folder, actor=ALICE, git=False).notes
    assert "R2 at best" in note
    assert "canary" in note
    app(folder, "  - {name: dated}\n")
    (note,) = tetrads.releases.compose_folder("default", folder, actor=ALICE, git=False).notes
    assert "R2 at best" in note
    assert "canary" not in note
