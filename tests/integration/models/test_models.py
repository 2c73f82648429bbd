"""Models on both databases: weights, hosted models, prices."""

from __future__ import annotations

import struct
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from support.tetrads import ALICE, Tetrads, wire
from support.weights import safetensors
from tetrad.kernel import digest_bytes
from tetrad.kit.db import Database
from tetrad.models import BadModel, BadPrice, ModelNotFound, Models
from tetrad.models._store import SqlModelStore
from tetrad.registry import BadName, GateMissing, RefMoved, RefReserved


@pytest.fixture
def tetrads(database: Database) -> Tetrads:
    return wire(database)


def gguf(path: Path, **metadata: str) -> Path:
    """Write a GGUF file without tensors."""

    def text(value: str) -> bytes:
        data = value.encode()
        return struct.pack("<Q", len(data)) + data

    entries = b"".join(text(key) + struct.pack("<I", 8) + text(value) for key, value in metadata.items())
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 0, len(metadata)) + entries + b"\0" * 64)
    return path


def test_weights_are_named_by_the_digest_of_their_file(tetrads: Tetrads, tmp_path: Path) -> None:
    path = gguf(
        tmp_path / "m.gguf",
        **{"general.architecture": "llama", "general.license": "mit", "tokenizer.chat_template": "T"},
    )
    version = tetrads.models.register_weights("default", "local/m", path, actor=ALICE, source={"wheel": "x"})
    assert version.digest == digest_bytes(path.read_bytes())
    facts = version.record.facts
    assert (facts.format, facts.architecture, version.licence) == ("gguf", "llama", "mit")
    assert facts.chat_template == digest_bytes(b"T")
    assert tetrads.models.version("default", "local/m") == version
    assert tetrads.models.get("default", version.digest).size == path.stat().st_size
    puts = tetrads.blobs.puts
    again = tetrads.models.register_weights(
        "default", "local/m", path, actor=ALICE, source={"wheel": "x"}, known_digest=version.digest
    )
    assert (again, tetrads.blobs.puts) == (version, puts)


def test_shards_are_one_model_whatever_their_order(tetrads: Tetrads, tmp_path: Path) -> None:
    paths = [tmp_path / f"m-{n}.safetensors" for n in (1, 2)]
    for path in paths:
        path.write_bytes(safetensors({path.stem: ("F32", (2,))}))
    one = tetrads.models.register_weights("default", "m", paths, actor=ALICE)
    other = tetrads.models.register_weights("default", "m2", paths[::-1], actor=ALICE)
    assert one.digest == other.digest
    assert [file.path for file in tetrads.models.get("default", one.digest).files] == [path.name for path in paths]
    assert {digest for digest, _ in tetrads.registry.parts("default", one.digest)} == {
        file.digest for file in one.record.files
    }


def test_what_is_no_model_is_refused(tetrads: Tetrads, tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"not gguf")
    cut = gguf(tmp_path / "cut.gguf", **{"general.name": "x" * 100})
    cut.write_bytes(cut.read_bytes()[:60])
    for path in (broken, cut, tmp_path / "missing.gguf", tmp_path):
        with pytest.raises(BadModel) as caught:
            tetrads.models.register_weights("default", "m", path, actor=ALICE)
        assert caught.value.hint
    with pytest.raises(BadName):
        tetrads.models.register_weights("default", "../m", broken, actor=ALICE)
    with pytest.raises(BadModel):
        tetrads.models.register_weights("default", "m", [], actor=ALICE)
    assert tetrads.models.names("default") == []


def test_a_derived_model_names_its_base_which_must_be_there(tetrads: Tetrads, tmp_path: Path) -> None:
    base = tetrads.add_model(tmp_path, "base", b"base")
    small = tmp_path / "small.onnx"
    small.write_bytes(b"small")
    with pytest.raises(BadModel, match="without a base"):
        tetrads.models.register_weights("default", "small", small, actor=ALICE, derivation="quantise")
    with pytest.raises(ModelNotFound):
        tetrads.models.register_weights(
            "default", "small", small, actor=ALICE, derivation="quantise", base=digest_bytes(b"nothing")
        )
    version = tetrads.models.register_weights(
        "default", "small", small, actor=ALICE, derivation="quantise", base=digest_bytes(b"base")
    )
    (activity, *_) = tetrads.registry.lineage("default", version.digest).activities
    assert activity.kind == "quantise"
    assert [(edge.digest, edge.role, edge.policy) for edge in activity.edges if edge.direction == "in"] == [
        (base, "base", "rebuild")
    ]


def test_a_hosted_model_may_change_unless_its_provider_promises(tetrads: Tetrads) -> None:
    make = tetrads.models.register_hosted
    floating = make("default", "gpt", provider="openai", model="gpt-4o-mini", actor=ALICE)
    assert (floating.record.kind, floating.record.immutable, floating.semver) == ("provider", False, "1.0.0")
    assert make("default", "gpt", provider="openai", model="gpt-4o-mini", actor=ALICE) == floating
    dated = make(
        "default", "gpt", provider="openai", model="gpt-4o-mini", snapshot="2024-07-18", immutable=True, actor=ALICE
    )
    assert (dated.record.immutable, dated.semver) == (True, "1.1.0")
    assert dated.digest != floating.digest
    with pytest.raises(BadModel):
        make("default", "gpt", provider="", model="x", actor=ALICE)


def test_hosted_models_cap_reproduction_and_ask_for_a_canary_where_they_may_change(
    tetrads: Tetrads, tmp_path: Path
) -> None:
    make = tetrads.models.register_hosted
    floating = make("default", "gpt", provider="openai", model="x", actor=ALICE).record
    dated = make("default", "gpt-dated", provider="openai", model="x", snapshot="s", immutable=True, actor=ALICE).record
    tetrads.add_model(tmp_path, "m")
    weights = tetrads.models.version("default", "m").record
    assert [(each.reproduction_cap, each.wants_canary) for each in (floating, dated, weights)] == [
        ("R2", True),
        ("R2", False),
        ("", False),
    ]


def test_an_alias_is_a_ref_that_names_a_version(tetrads: Tetrads, tmp_path: Path) -> None:
    one = tetrads.add_model(tmp_path, "local/m", b"one")
    two = tetrads.add_model(tmp_path, "local/m", b"two")
    models = tetrads.models
    ref = models.move_alias("default", "local/m", "best", "1.0.0", actor=ALICE, create=True, reason="scores")
    assert (ref.name, ref.digest) == ("models/local/m/best", one)
    assert models.version("default", "local/m", "best").semver == "1.0.0"
    with pytest.raises(RefMoved):
        models.move_alias("default", "local/m", "best", "1.1.0", actor=ALICE, create=True)
    with pytest.raises(RefMoved):
        models.move_alias("default", "local/m", "best", "1.1.0", actor=ALICE, expected=two)
    models.move_alias("default", "local/m", "best", "", actor=ALICE, expected=one)
    assert models.find("default", "local/m@best").digest == two
    assert models.find("default", "local/m@1.0.0").digest == one
    assert models.find("default", "local/m").digest == two
    assert models.find("default", f"local/m@{one}").semver == "1.0.0"
    assert models.find("default", one).name == "local/m"
    assert [(entry.old, entry.new) for entry in tetrads.registry.ref_log("default", ref.name)] == [
        (one, two),
        (None, one),
    ]
    with pytest.raises(ModelNotFound, match="no alias 'worst'"):
        models.version("default", "local/m", "worst")
    for bad in ("1.0.0", "a/b", "", "a@b", "A"):
        with pytest.raises(BadModel):
            models.move_alias("default", "local/m", bad, "1.0.0", actor=ALICE, create=True)


def test_an_alias_is_taken_away_for_good_by_whoever_saw_where_it_points(tetrads: Tetrads, tmp_path: Path) -> None:
    models = tetrads.models
    one = tetrads.add_model(tmp_path, "local/m", b"one")
    two = tetrads.add_model(tmp_path, "local/m", b"two")
    models.move_alias("default", "local/m", "best", "1.0.0", actor=ALICE, create=True)
    with pytest.raises(RefMoved):
        models.delete_alias("default", "local/m", "best", actor=ALICE, expected=two)
    models.delete_alias("default", "local/m", "best", actor=ALICE, expected=one, reason="it misleads")
    assert models.aliases("default", "local/m") == []
    with pytest.raises(ModelNotFound, match="no alias 'best'"):
        models.version("default", "local/m", "best")
    with pytest.raises(RefReserved):
        models.move_alias("default", "local/m", "best", "1.1.0", actor=ALICE, create=True)


def test_an_alias_of_a_longer_name_is_not_one_of_the_shorter(tetrads: Tetrads, tmp_path: Path) -> None:
    tetrads.add_model(tmp_path, "local")
    tetrads.add_model(tmp_path, "local/m")
    tetrads.models.move_alias("default", "local/m", "best", "", actor=ALICE, create=True)
    assert tetrads.models.aliases("default", "local") == []
    assert len(tetrads.models.aliases("default", "local/m")) == 1


def test_a_governed_alias_moves_only_through_its_gate(tetrads: Tetrads, tmp_path: Path) -> None:
    tetrads.add_model(tmp_path, "m")
    tetrads.registry.govern("default", "models/*/production", "evidence", actor=ALICE)
    with pytest.raises(GateMissing):
        tetrads.models.move_alias("default", "m", "production", "", actor=ALICE, create=True)
    assert tetrads.models.move_alias("default", "m", "best", "", actor=ALICE, create=True).governed is False


def test_prices_come_from_the_local_table_then_the_public_list_else_are_unknown(
    tetrads: Tetrads, tmp_path: Path
) -> None:
    models = tetrads.models
    models.register_hosted("default", "gpt", provider="openai", model="gpt-4o-mini", actor=ALICE)
    models.register_hosted("default", "odd", provider="openai", model="no-such-model", actor=ALICE)
    price = models.price("default", "gpt")
    assert price is not None
    assert (price.input, price.source) == ("0.15", "genai-prices")
    assert models.price("default", "odd") is None
    assert models.price("default", "never-heard-of") is None
    assert models.price("other", "gpt") is None
    now = tetrads.clock.now()
    models.set_price("default", "gpt", input="1", output="2", valid_from=now + timedelta(days=1), actor=ALICE)
    assert models.price("default", "gpt") == price
    tetrads.clock.advance(timedelta(days=2))
    local = models.price("default", "gpt")
    assert local is not None
    assert (local.input, local.output, local.source) == ("1", "2", "manual")
    (line,) = models.local_prices("default", "gpt")
    with pytest.raises(ModelNotFound):
        models.remove_price("other", line.id, actor=ALICE)
    models.remove_price("default", line.id, actor=ALICE)
    assert models.price("default", "gpt") == price
    models.set_price("default", "gpt", input="0", output="0", units={"image": "0.040"}, batch="0.5", actor=ALICE)
    images = models.price("default", "gpt")
    assert images is not None
    assert (images.units, images.batch) == ({"image": "0.040"}, "0.5")


def test_what_projects_say_of_prices_is_theirs_alone_and_holds_in_its_time(tetrads: Tetrads) -> None:
    models, now = tetrads.models, tetrads.clock.now()
    models.set_price("", "local/m", input="0", output="0", actor=ALICE)
    models.set_price("default", "local/m", input="5", output="6", actor=ALICE)
    models.set_price("default", "local/m", input="7", output="8", valid_from=now + timedelta(days=1), actor=ALICE)
    models.set_price("other", "local/n", input="1", output="1", valid_to=now, actor=ALICE)

    def said() -> dict[tuple[str, str], tuple[str, str]]:
        return {name: (price.input, price.output) for name, price in models.own_prices().items()}

    assert said() == {("default", "local/m"): ("5", "6")}
    tetrads.clock.advance(86_400)
    assert said() == {("default", "local/m"): ("7", "8")}


def test_who_set_a_price_is_in_the_log_and_those_who_count_by_it_are_told(tetrads: Tetrads) -> None:
    said: list[tuple[str, str, str | None]] = []
    told: list[str] = []
    models = Models(
        SqlModelStore(tetrads.database),
        tetrads.registry,
        tetrads.clock,
        audit=lambda _actor, action, target, project, **_: said.append((action, target, project)),
        prices_changed=lambda: told.append("changed"),
    )
    now = tetrads.clock.now()
    name = "bedrock/Claude-4.5@eu:0"
    line = models.set_price("default", name, input="1", output="2", valid_to=now + timedelta(days=2), actor=ALICE)
    assert models.price("default", name) == line.price, "providers name models with capitals and colons"
    assert models.next_price_change(now) == now + timedelta(days=2)
    assert models.next_price_change(now + timedelta(days=2)) is None
    models.remove_price("default", line.id, actor=ALICE)
    assert said == [("model_price.set", name, "default"), ("model_price.removed", name, "default")]
    assert told == ["changed", "changed"]
    for wrong in ("", "/x", "a b", "a" * 129, "x\n"):
        with pytest.raises(BadPrice):
            models.set_price("default", wrong, input="1", output="2", actor=ALICE)
    assert len(told) == 2


def test_local_weights_cost_nothing_and_say_so(tetrads: Tetrads, tmp_path: Path) -> None:
    tetrads.add_model(tmp_path, "local/m")
    for project in ("default", "other", ""):
        price = tetrads.models.price(project, "local/m")
        assert price is not None
        assert (price.input, price.output, price.source) == ("0", "0", "local")


def test_a_model_is_invisible_to_another_project(tetrads: Tetrads, tmp_path: Path) -> None:
    digest = tetrads.add_model(tmp_path, "m")
    with pytest.raises(ModelNotFound):
        tetrads.models.version("other", "m")
    with pytest.raises(ModelNotFound):
        tetrads.models.get("other", digest)
    assert tetrads.models.names("other") == []


def test_models_are_listed_by_a_part_of_their_names_both_ways(tetrads: Tetrads) -> None:
    for name in ("small", "large", "other"):
        tetrads.models.register_hosted("default", name, provider="openai", model="gpt-4o-mini", actor=ALICE)
    listed = tetrads.models.names

    def names(**wanted: Any) -> list[str]:
        return [version.name for version in listed("default", **wanted)]

    assert names() == ["large", "other", "small"]
    assert names(backwards=True) == ["small", "other", "large"]
    assert names(contains="L", backwards=True) == ["small", "large"]
    assert names(backwards=True, after="small", limit=1) == ["other"]
