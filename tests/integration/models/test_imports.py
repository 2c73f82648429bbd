"""Models of files that were sent: service, API and commands, on both databases; and what a killed import leaves."""

from __future__ import annotations

import contextlib
import io
import json
import signal
import subprocess
import sys
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI

from support.databases import opened
from support.identity import ADMIN, caller, make_app, make_identity
from support.routes import holes
from support.sync_app import SyncApp
from support.tetrads import ALICE, Tetrads, wire
from support.weights import gguf, hub_folder, lora_folder, safetensors
from tetrad.datasets.routes import router as datasets_router
from tetrad.identity import Identity
from tetrad.kernel import Conflict, Digest, digest_bytes
from tetrad.kit.api_client import ApiClient
from tetrad.kit.blobs import BlobMismatch
from tetrad.kit.db import Database
from tetrad.kit.http import GuardPolicy, Upload
from tetrad.models import BadModel, ModelConflict, ModelLimits, ModelNotFound, Models, Origin, PickledWeights
from tetrad.models._settings import MAX_FILE_BYTES, MODEL_FILES
from tetrad.models.routes import router as models_router
from tetrad.processes.cli._app import run
from tetrad.registry import ArtifactNotFound, Edge

TESTS = Path(__file__).parents[2]


@dataclass
class Site:
    """A control plane with the models' routes; commands of this process talk to it."""

    tetrads: Tetrads
    identity: Identity
    app: FastAPI


@pytest.fixture
def tetrads(database: Database) -> Tetrads:
    return wire(database)


@pytest.fixture
def site(database: Database, monkeypatch: pytest.MonkeyPatch) -> Site:
    tetrads, identity = wire(database), make_identity(database)
    for project in ("default", "other"):
        with contextlib.suppress(Conflict):
            identity.projects.create(ADMIN, project, project)
    app = make_app(identity, models_router(tetrads.models), datasets_router(tetrads.datasets))
    key = identity.keys.create(ADMIN, "default", "ann", ["control"]).secret
    made = lambda *_: ApiClient("http://127.0.0.1:8401", key, transport=SyncApp(app))  # noqa: E731
    monkeypatch.setattr(ApiClient, "from_environment", made)
    return Site(tetrads, identity, app)


def send(models: Models, folder: Path, project: str = "default") -> dict[str, str]:
    files = {}
    for path in sorted(folder.iterdir()):
        if path.name != "README.md":
            data = path.read_bytes()
            models.receive_file(project, io.BytesIO(data), digest_bytes(data), actor=ALICE)
            files[path.name] = digest_bytes(data)
    return files


def command(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = run(list(arguments))
    said = capsys.readouterr()
    return code, said.out, said.err


def test_files_that_were_sent_become_one_model(tetrads: Tetrads, tmp_path: Path) -> None:
    files = send(tetrads.models, hub_folder(tmp_path / "m"))
    version = tetrads.models.import_files("default", "org/m", files, actor=ALICE, licence="mit")
    record = version.record
    assert [file.path for file in record.files] == sorted(files)
    assert (record.facts.parameters, version.licence, record.kind) == (52, "mit", "weights")
    assert {digest for digest, _ in tetrads.registry.parts("default", version.digest)} == set(files.values())
    assert tetrads.models.import_files("default", "org/m", files, actor=ALICE, licence="mit") == version
    lineage = tetrads.registry.lineage("default", version.digest)
    assert [activity.kind for activity in lineage.activities] == ["import"]


def test_the_order_of_files_and_a_copy_elsewhere_do_not_change_the_model(tetrads: Tetrads, tmp_path: Path) -> None:
    files = send(tetrads.models, hub_folder(tmp_path / "m"))
    one = tetrads.models.import_files("default", "a", files, actor=ALICE)
    other = tetrads.models.import_files("default", "b", dict(reversed(files.items())), actor=ALICE)
    assert one.digest == other.digest


def test_a_file_that_another_project_sent_is_not_there(tetrads: Tetrads, tmp_path: Path) -> None:
    files = send(tetrads.models, hub_folder(tmp_path / "m"))
    assert tetrads.models.missing_files("default", list(files.values())) == []
    assert set(tetrads.models.missing_files("other", list(files.values()))) == set(files.values())
    with pytest.raises(BadModel, match="were not sent"):
        tetrads.models.import_files("other", "m", files, actor=ALICE)
    tetrads.models.import_files("default", "m", files, actor=ALICE)
    with pytest.raises(BadModel, match="were not sent"):
        tetrads.models.import_files("other", "m", files, actor=ALICE)
    assert tetrads.models.missing_files("default", list(files.values())) == []


def test_files_that_nobody_asked_for_are_forgotten(tetrads: Tetrads) -> None:
    first = tetrads.models.receive_file("default", io.BytesIO(b"1"), digest_bytes(b"1"), actor=ALICE).digest
    tetrads.clock.advance(timedelta(days=8))
    tetrads.models.receive_file("default", io.BytesIO(b"2"), digest_bytes(b"2"), actor=ALICE)
    assert tetrads.models.missing_files("default", [first]) == [first]


def test_other_bytes_than_the_digest_names_are_refused(tetrads: Tetrads) -> None:
    with pytest.raises(BlobMismatch):
        tetrads.models.receive_file("default", io.BytesIO(b"1"), digest_bytes(b"2"), actor=ALICE)
    assert tetrads.models.missing_files("default", [digest_bytes(b"2")]) == [digest_bytes(b"2")]


def test_what_cannot_be_a_model_is_refused_and_nothing_is_named(tetrads: Tetrads, tmp_path: Path) -> None:
    models = tetrads.models
    files = send(models, hub_folder(tmp_path / "m"))
    incomplete = {path: digest for path, digest in files.items() if "00001" not in path}
    for bad in ({}, incomplete, {"../x.safetensors": digest_bytes(b"")}, {"/x.gguf": digest_bytes(b"")}):
        with pytest.raises(BadModel):
            models.import_files("default", "m", bad, actor=ALICE)
    pickle = models.receive_file("default", io.BytesIO(b"\x80\x04."), digest_bytes(b"\x80\x04."), actor=ALICE).digest
    with pytest.raises(PickledWeights):
        models.import_files("default", "m", {"model.bin": pickle}, actor=ALICE)
    assert models.names("default") == []
    taken = models.import_files("default", "m", {"model.bin": pickle}, actor=ALICE, allow_pickle=True)
    assert taken.record.facts.pickled
    models.limits = ModelLimits(max_files=2)
    with pytest.raises(BadModel, match="6 files"):
        models.import_files("default", "m", files, actor=ALICE)


def test_a_derivation_says_of_what_with_what_and_how(tetrads: Tetrads, tmp_path: Path) -> None:
    base = tetrads.add_model(tmp_path, "base", b"base")
    data = tetrads.registry.put_document("default", "dataset", {"rows": 1}, actor=ALICE).digest
    weights = gguf(general__architecture="llama")
    small = tetrads.models.receive_file("default", io.BytesIO(weights), digest_bytes(weights), actor=ALICE).digest
    origin = Origin(
        Digest(base), "quantise", (Edge(data, "in", "data:calibration", "rebuild"),), {"type": "Q4_K_M"}, {"seed": 7},
        {"perplexity": 9.5}, {"llama.cpp": "b1"},
    )  # fmt: skip
    version = tetrads.models.import_files("default", "base", {"q.gguf": small}, actor=ALICE, origin=origin)
    assert (version.record.base, version.record.derivation, version.semver) == (base, "quantise", "1.1.0")
    activity = tetrads.models.made_by("default", version.digest)
    assert activity is not None
    assert activity.kind == "quantise"
    assert activity.params == {
        "files": ["q.gguf"],
        "params": {"type": "Q4_K_M"},
        "seeds": {"seed": 7},
        "metrics": {"perplexity": 9.5},
    }
    assert activity.environment == {"llama.cpp": "b1"}
    assert {(edge.digest, edge.role, edge.policy) for edge in activity.edges if edge.direction == "in"} == {
        (base, "base", "rebuild"),
        (data, "data:calibration", "rebuild"),
    }
    with pytest.raises(ModelConflict, match="another origin"):
        tetrads.models.import_files("default", "base", {"q.gguf": small}, actor=ALICE)
    for bad, error in (
        (Origin(Digest("sha256:" + "0" * 64), "quantise"), ModelNotFound),
        (Origin(None, "quantise"), BadModel),
        (Origin(inputs=(Edge(Digest("sha256:" + "0" * 64), "in"),)), ArtifactNotFound),
        (Origin(params={"x": "y" * 70_000}), BadModel),
    ):
        with pytest.raises(error):
            tetrads.models.import_files("default", "x", {"q.gguf": small}, actor=ALICE, origin=bad)


def test_an_adapter_is_tied_to_its_base_and_must_fit(tetrads: Tetrads, tmp_path: Path) -> None:
    models = tetrads.models
    base = models.import_files("default", "base", send(models, hub_folder(tmp_path / "m")), actor=ALICE)
    files = send(models, lora_folder(tmp_path / "a"))
    origin = Origin(base.digest, "finetune")
    adapter = models.import_files("default", "ada", files, actor=ALICE, kind="adapter", origin=origin)
    assert adapter.record.facts.adapter is not None
    assert (adapter.record.kind, adapter.record.base, adapter.record.facts.adapter.checked) == (
        "adapter",
        base.digest,
        "shapes",
    )
    (activity,) = tetrads.registry.lineage("default", adapter.digest, depth=1).activities
    assert [(edge.digest, edge.policy) for edge in activity.edges if edge.role == "base"] == [(base.digest, "rebuild")]
    wide = send(models, lora_folder(tmp_path / "wide", width=6))
    with pytest.raises(BadModel, match="has the shape"):
        models.import_files("default", "ada", wide, actor=ALICE, kind="adapter", origin=origin)
    with pytest.raises(BadModel, match="without a base"):
        models.import_files("default", "ada", files, actor=ALICE, kind="adapter")
    with pytest.raises(BadModel, match="no weights"):
        models.import_files(
            "default", "x", wide, actor=ALICE, kind="adapter", origin=Origin(adapter.digest, "finetune")
        )
    weights = safetensors({"x": ("F32", (1,))})
    plain = models.receive_file("default", io.BytesIO(weights), digest_bytes(weights), actor=ALICE).digest
    with pytest.raises(BadModel, match="no adapter"):
        models.import_files("default", "x", {"a.safetensors": plain}, actor=ALICE, kind="adapter", origin=origin)


def test_a_gguf_adapter_of_another_architecture_is_refused(tetrads: Tetrads) -> None:
    models = tetrads.models

    def kept(name: str, **metadata: Any) -> dict[str, str]:
        data = gguf(**metadata)
        return {name: models.receive_file("default", io.BytesIO(data), digest_bytes(data), actor=ALICE).digest}

    base = models.import_files("default", "b", kept("b.gguf", general__architecture="llama"), actor=ALICE)
    for architecture, fits in (("llama", True), ("qwen2", False)):
        files = kept("a.gguf", general__type="adapter", adapter__type="lora", general__architecture=architecture)
        origin = Origin(base.digest, "finetune")
        if fits:
            made = models.import_files("default", "a", files, actor=ALICE, kind="adapter", origin=origin)
            assert made.record.facts.adapter is not None
            assert made.record.facts.adapter.checked == "architecture"
        else:
            with pytest.raises(BadModel, match="'qwen2'"):
                models.import_files("default", "a", files, actor=ALICE, kind="adapter", origin=origin)


async def test_no_route_lets_in_whom_it_must_not(site: Site) -> None:
    assert await holes(site.app, site.identity) == []


async def test_a_file_past_the_limit_or_of_other_bytes_is_refused(database: Database) -> None:
    tetrads, identity = wire(database), make_identity(database)
    with contextlib.suppress(Conflict):
        identity.projects.create(ADMIN, "default", "default")
    policy = GuardPolicy(max_body_bytes=100, uploads=(Upload(MODEL_FILES, 1000, MAX_FILE_BYTES.name),))
    app = make_app(identity, models_router(tetrads.models), policy=policy)
    path = "/api/v1/projects/default/model-files"
    async with caller(app, identity.keys.create(ADMIN, "default", "ann", ["control"]).secret) as http:
        for size, status, code in ((1000, 201, None), (1001, 413, "too_large")):
            params = {"digest": digest_bytes(b"x" * size)}
            answer = await http.post(path, params=params, content=b"x" * size)
            assert (answer.status_code, answer.json().get("code")) == (status, code)
            if status == 413:
                assert "model_max_file_bytes" in answer.json()["hint"]
        wrong = await http.post(path, params={"digest": digest_bytes(b"a")}, content=b"b")
        assert (wrong.status_code, wrong.json()["code"]) == (409, "blob_mismatch")
        odd = await http.post(path, params={"digest": "sha256:odd"}, content=b"b")
        assert odd.status_code == 400
        asked = await http.post(
            "/api/v1/projects/default/missing-model-files", json={"digests": [digest_bytes(b"x" * 1000)]}
        )
        assert (asked.status_code, asked.json()) == (200, {"missing": []})
    assert tetrads.models.missing_files("default", [digest_bytes(b"x" * 1000)]) == []
    assert len(tetrads.models.missing_files("default", [digest_bytes(b"x" * 1001), digest_bytes(b"b")])) == 2


def test_commands_import_derive_adapt_alias_and_show(
    site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = hub_folder(tmp_path / "m")
    code, out, _ = command(capsys, "model", "import", "org/m", str(folder), "--from", "hf://org/m@abc", "-m", "first")
    assert (code, out.startswith("org/m@1.0.0: 52 parameters")) == (0, True)
    puts = site.tetrads.blobs.puts
    assert command(capsys, "model", "import", "org/m", str(folder), "--from", "hf://org/m@abc")[0] == 0
    assert site.tetrads.blobs.puts <= puts + 1  # the list of files is written again, no weights are
    (tmp_path / "d.jsonl").write_text('{"a": 1}\n')
    assert command(capsys, "dataset", "import", "rows", str(tmp_path / "d.jsonl"), "--role", "calibration")[0] == 0
    (tmp_path / "q.gguf").write_bytes(gguf(general__architecture="llama"))
    code, out, _ = command(
        capsys, "model", "derive", "org/m", str(tmp_path / "q.gguf"), "--derived-from", "org/m@1.0.0", "--how",
        "quantise", "--dataset", "rows@1.0.0", "--param", "type=Q4", "--seed", "seed=1", "--metric", "ppl=9.5",
        "--json",
    )  # fmt: skip
    made = json.loads(out)
    assert (code, made["semver"], made["derivation"], made["price"]["input"]) == (0, "1.1.0", "quantise", "0")
    code, out, err = command(
        capsys, "model", "add-adapter", "org/ada", str(lora_folder(tmp_path / "a")), "--base", "org/m@1.0.0"
    )
    assert (code, out.startswith("org/ada@1.0.0"), "warning" in err) == (0, True, False)
    assert command(capsys, "model", "alias", "org/m", "best", "1.0.0")[1].startswith("org/m@best → ")
    assert command(capsys, "model", "alias", "org/m", "best", "1.1.0")[0] == 0
    assert "best" in command(capsys, "model", "aliases", "org/m")[1]
    shown = json.loads(command(capsys, "model", "show", "org/m@best", "--json")[1])
    assert (shown["semver"], shown["aliases"], shown["origin"]["params"]["params"]) == (
        "1.1.0",
        ["best"],
        {"type": "Q4"},
    )
    assert {each["role"] for each in shown["origin"]["inputs"]} == {"base", "data:calibration"}
    assert "apache-2.0 (Apache-2.0)" in command(capsys, "model", "show", "org/m@1.0.0")[1]
    assert "1.1.0" in command(capsys, "model", "versions", "org/m")[1]
    code, _, err = command(capsys, "model", "host", "gpt", "--provider", "openai", "--model", "gpt-x")
    assert (code, "probe it" in err) == (0, True)
    assert "R2 at best" in command(capsys, "model", "show", "gpt")[1]


def test_commands_say_what_is_wrong_without_a_traceback(
    site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "m.bin").write_bytes(b"\x80\x04.")
    (tmp_path / "m.gguf").write_bytes(b"GGUF")
    (tmp_path / "w.onnx").write_bytes(b"w")
    for arguments, why in (
        (["import", "m", str(tmp_path / "none")], "is not there"),
        (["import", "m", str(tmp_path / "m.bin")], "runs code"),
        (["import", "m", str(tmp_path / "m.gguf")], "GGUF"),
        (["import", "M!", str(tmp_path / "w.onnx")], "is no name of a model"),
        (["derive", "m", str(tmp_path / "w.onnx"), "--derived-from", "none@1.0.0", "--how", "prune"], "has no model"),
        (["derive", "m", str(tmp_path / "w.onnx"), "--derived-from", "none", "--how", "guess"], "no way"),
        (["derive", "m", str(tmp_path / "w.onnx"), "--derived-from", "x", "--how", "prune", "--param", "a"], "NAME="),
        (["add-adapter", "m", str(tmp_path / "w.onnx"), "--base", "none@best"], "no alias 'best'"),
        (["show", "none@best"], "no alias"),
    ):
        code, _, err = command(capsys, "model", *arguments)
        assert code in (1, 2), err
        assert why in err
        assert "Traceback" not in err
    assert site.tetrads.models.names("default") == []
    code, _, err = command(capsys, "model", "import", "m", str(tmp_path / "m.bin"), "--allow-pickle")
    assert (code, "pickled" in err, "licence" in err) == (0, True, True)


_IMPORTS = """
import io, os, signal, sys
from pathlib import Path
from support.tetrads import ALICE, wire
from tetrad.kernel import digest_bytes
from tetrad.kit.blobs import LocalBlobs
from tetrad.kit.db import open_database
from tetrad.models import Models
from tetrad.registry import Registry

url, blobs, folder, die = sys.argv[1:]
tetrads = wire(open_database(url), blobs=LocalBlobs(Path(blobs)))
target, name = {
    "stream": (tetrads.blobs, "put_stream"), "document": (tetrads.registry, "put_document"),
    "record": (tetrads.registry, "record"), "version": (tetrads.registry, "add_version"),
    "drop": (tetrads.models._store, "drop_uploads"), "nothing": (None, ""),
}[die]
if target is not None:
    setattr(target, name, lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL))
files = {}
for path in sorted(Path(folder).iterdir()):
    data = path.read_bytes()
    tetrads.models.receive_file("default", io.BytesIO(data), digest_bytes(data), actor=ALICE)
    files[path.name] = digest_bytes(data)
print(tetrads.models.import_files("default", "org/m", files, actor=ALICE).digest)
"""


@pytest.mark.parametrize("die", ["stream", "document", "record", "version", "drop"])
def test_an_import_that_is_killed_leaves_nothing_half_registered_and_can_be_run_again(
    die: str, database_url: str, tmp_path: Path
) -> None:
    folder = hub_folder(tmp_path / "m")
    (folder / "README.md").unlink()

    def go(death: str) -> subprocess.CompletedProcess[str]:
        program = [sys.executable, "-c", _IMPORTS, database_url, str(tmp_path / "blobs"), str(folder), death]
        return subprocess.run(
            program,
            env={"PYTHONPATH": str(TESTS), "PATH": ""},
            capture_output=True,
            text=True,
            check=False,
            timeout=100,
        )

    killed = go(die)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    with opened(database_url) as database:
        names = wire(database).models.names("default")
        assert len(names) == (1 if die == "drop" else 0)
    again = go("nothing")
    assert again.returncode == 0, again.stderr
    with opened(database_url) as database:
        tetrads = wire(database)
        (version,) = tetrads.models.names("default")
        assert (version.digest, version.semver) == (again.stdout.strip(), "1.0.0")
        assert len(tetrads.registry.lineage("default", version.digest).activities) == 1
