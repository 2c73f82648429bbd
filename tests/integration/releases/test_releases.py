"""Releases on both databases: what they are made of, what changes them, who moves their refs."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import sqlalchemy as sa

from support.apps import FILES, YAML, write_app
from support.tetrads import ALICE, BOB, EXAMPLE, SYSTEM, Tetrads, wire
from tetrad.code import BadCode, MemorySource
from tetrad.kernel import Conflict, TetradError
from tetrad.kit.db import Database
from tetrad.models import ModelNotFound
from tetrad.processes.control._compile import release_route
from tetrad.prompts import PromptError, PromptPolicy, parse_prompt_file
from tetrad.registry import BadName, RefMoved
from tetrad.releases import AppNotFound, BadDeclaration, BadPart, Composed, Message, ReleaseNotFound, WrongApp
from tetrad.releases._lock import lock_of


@pytest.fixture
def tetrads(database: Database, tmp_path: Path) -> Tetrads:
    made = wire(database)
    made.add_model(tmp_path)
    return made


def compose(tetrads: Tetrads, folder: Path, **more: str | None) -> Composed:
    return tetrads.releases.compose_folder("default", write_app(folder, **more), actor=ALICE)


def counts(database: Database) -> list[int]:
    tables = ("artifacts", "versions", "refs", "ref_log", "activities", "dataset_versions", "dataset_rows", "apps")
    with database.read() as connection:
        return [connection.execute(sa.text(f"SELECT count(*) FROM {table}")).scalar_one() for table in tables]


def test_the_example_app_becomes_a_release_that_says_what_to_send(tetrads: Tetrads) -> None:
    ensured = tetrads.releases.ensure_app("default", EXAMPLE, actor=SYSTEM)
    assert (ensured.moved, ensured.release.new, ensured.release.notes) == (True, True, ())
    resolved = tetrads.releases.resolve("default", ensured.ref.digest)
    assert (resolved.app, resolved.model, resolved.prompt_name) == (
        "assistant",
        "local/smollm2-135m",
        "assistant-system",
    )
    assert [message.role for message in resolved.messages] == ["system"]
    assert [message.role for message in resolved.examples[:2]] == ["user", "assistant"]
    assert {variable.name for variable in resolved.variables} == {"product_name", "tone", "max_sentences"}
    assert resolved.params["temperature"] == 0.2
    code = tetrads.code.get("default", resolved.code_artifact)
    assert code.tree == resolved.code_digest
    assert "assistant.py" in {file.path for file in code.files}
    assert not any(file.path.startswith(("prompts/", "data/", "tetrad.yaml")) for file in code.files)


def test_making_sure_of_an_app_again_changes_nothing(tetrads: Tetrads, database: Database) -> None:
    first = tetrads.releases.ensure_app("default", EXAMPLE, actor=SYSTEM)
    before = counts(database), dict(tetrads.blobs.held)
    tetrads.clock.advance(3600)
    second = tetrads.releases.ensure_app("default", EXAMPLE, actor=SYSTEM)
    assert (second.ref, second.moved, second.release.new) == (first.ref, False, False)
    assert second.release.version == first.release.version
    assert (counts(database), tetrads.blobs.held) == before


def test_a_changed_folder_moves_the_ref_but_never_over_a_persons_choice(tetrads: Tetrads, tmp_path: Path) -> None:
    folder = write_app(tmp_path / "app")
    first = tetrads.releases.ensure_app("default", folder, actor=SYSTEM).ref.digest
    (folder / "bot.py").write_text("print('two')\n")
    moved = tetrads.releases.ensure_app("default", folder, actor=SYSTEM)
    assert moved.moved
    tetrads.releases.move_ref("default", "bot", "production", first, expected=moved.ref.digest, actor=ALICE)
    kept = tetrads.releases.ensure_app("default", folder, actor=SYSTEM)
    assert (kept.moved, kept.ref.digest) == (False, first)
    (folder / "bot.py").write_text("print('three')\n")
    kept = tetrads.releases.ensure_app("default", folder, actor=SYSTEM)
    assert (kept.moved, kept.ref.digest, kept.release.new) == (False, first, True)


def test_each_of_the_four_parts_changes_the_digest_and_what_is_resolved(tetrads: Tetrads, tmp_path: Path) -> None:
    base = compose(tetrads, tmp_path / "a")
    before = tetrads.releases.resolve("default", base.digest)
    prompt = FILES["prompts/system.md"].replace("Be", "Always be")
    code = compose(tetrads, tmp_path / "b", bot_DOT_py="print('bye')\n")
    data = compose(tetrads, tmp_path / "c", data__shots_DOT_jsonl='{"input": "Hi", "output": "Good day."}\n')
    prompted = compose(tetrads, tmp_path / "d", prompts__system_DOT_md=prompt)
    sampled = compose(tetrads, tmp_path / "e", tetrad_DOT_yaml=YAML.replace("0.5", "0.6"))
    tetrads.add_model(tmp_path, content=b"other weights")
    model = compose(tetrads, tmp_path / "f")
    assert len({made.digest for made in (base, code, data, prompted, sampled, model)}) == 6
    resolve = tetrads.releases.resolve
    assert resolve("default", code.digest).code_digest != before.code_digest
    assert resolve("default", data.digest).examples == (Message("user", "Hi"), Message("assistant", "Good day."))
    assert resolve("default", prompted.digest).messages == (Message("system", "Always be {{tone}}."),)
    assert resolve("default", sampled.digest).params == {"temperature": 0.6, "max_tokens": 20}
    assert resolve("default", model.digest).model_digest != before.model_digest
    assert resolve("default", base.digest) == before
    for made in (data, prompted, sampled, model):
        assert resolve("default", made.digest).code_digest == before.code_digest
    assert resolve("default", prompted.digest).prompt_version == "1.0.1"


def test_the_same_inputs_are_the_same_release_on_a_machine_with_another_history(
    tetrads: Tetrads, database: Database, tmp_path: Path
) -> None:
    compose(tetrads, tmp_path / "a", prompts__system_DOT_md="# system\n\nAnother start.\n")
    compose(tetrads, tmp_path / "b", data__shots_DOT_jsonl='{"input": "x", "output": "y"}\n')
    here = compose(tetrads, tmp_path / "c")
    tetrads.add_model(tmp_path, project="other")
    files = {path: (text.encode(), False) for path, text in reversed(FILES.items())}
    there = tetrads.releases.compose("other", MemorySource(files), actor=BOB, reason="elsewhere")
    assert there.digest == here.digest
    assert there.version.author == "key_bob"
    prompts = [tetrads.registry.version(project, "prompt", "bot-system").semver for project in ("default", "other")]
    assert prompts == ["1.1.0", "1.0.0"]


def test_a_manifest_has_no_time_no_author_no_reason(tetrads: Tetrads, tmp_path: Path) -> None:
    made = tetrads.releases.compose_folder(
        "default", write_app(tmp_path), actor=ALICE, reason="a reason that is nowhere else", git=False
    )
    text = re.sub("[0-9a-f]{64}", "", tetrads.registry.read("default", made.digest).decode())  # may hold any digits
    for word in ("key_alice", "Alice", "a reason", "2026", str(tmp_path)):
        assert word not in text
    assert tetrads.releases.release("default", made.digest).version.reason == "a reason that is nowhere else"


@pytest.mark.parametrize(
    ("changes", "error", "says"),
    [
        ({"tetrad_DOT_yaml": None}, BadCode, "there is no tetrad.yaml"),
        ({"tetrad_DOT_yaml": "app: [x"}, BadDeclaration, "tetrad.yaml:1:"),
        ({"tetrad_DOT_yaml": YAML.replace("local/smollm2-135m", "local/none")}, ModelNotFound, "local/none"),
        (
            {"prompts__system_DOT_md": None},
            BadDeclaration,
            "tetrad.yaml:8:1: the file 'prompts/system.md' is not there",
        ),
        ({"prompts__system_DOT_md": "# system\n\n{{undeclared}}\n"}, TetradError, "prompts/system.md:3"),
        ({"data__shots_DOT_jsonl": '{"input": "x"}\n'}, BadPart, "data/shots.jsonl: the row of line 1 is no example"),
        ({"data__shots_DOT_jsonl": '{"input": "x", "output": "y"}\n{\n'}, TetradError, "data/shots.jsonl: line 2"),
        ({"data__shots_DOT_jsonl": '{"input": "x", "output": "y"}\n' * 201}, BadPart, "more than 200 rows"),
        ({"tetrad_DOT_yaml": YAML + "code: {lock: none.lock}\n"}, BadCode, "'none.lock' is not there"),
        ({"tetrad_DOT_yaml": YAML + "code: {lock: data/shots.jsonl}\n"}, BadCode, "is ignored"),
    ],
)
def test_a_bad_part_is_named_and_no_release_is_made(
    tetrads: Tetrads, database: Database, tmp_path: Path, changes: dict, error: type[TetradError], says: str
) -> None:
    with pytest.raises(error) as caught:
        compose(tetrads, tmp_path / "app", **changes)
    assert says in caught.value.message
    assert caught.value.hint
    assert tetrads.releases.apps("default") == []
    assert tetrads.registry.names("default", "release") == []
    assert tetrads.registry.names("default", "prompt") == []


def test_parts_can_be_versions_that_the_project_has(tetrads: Tetrads, tmp_path: Path) -> None:
    first = compose(tetrads, tmp_path / "a")
    compose(tetrads, tmp_path / "b", prompts__system_DOT_md="# system\n\nNewer.\n")
    named = (
        "app: other\nmodel: [{name: local/smollm2-135m, version: 1.0.0}]\n"
        "data: [{role: fewshot, name: bot-shots, version: 1.0.0}]\nprompt: [{name: bot-system, version: 1.0.0}]\n"
    )
    made = tetrads.releases.compose("default", MemorySource({"tetrad.yaml": (named.encode(), False)}), actor=ALICE)
    before, after = (tetrads.releases.resolve("default", each.digest) for each in (first, made))
    assert (after.messages, after.examples) == (before.messages, before.examples)
    assert made.manifest["prompt"][0]["semver"] == "1.0.0"
    missing = named.replace("bot-shots, version: 1.0.0", "bot-shots, version: 7.0.0")
    with pytest.raises(TetradError, match=r"bot-shots@7.0.0"):
        tetrads.releases.compose("default", MemorySource({"tetrad.yaml": (missing.encode(), False)}), actor=ALICE)


def test_lineage_leads_from_a_release_to_its_parts(tetrads: Tetrads, tmp_path: Path) -> None:
    made = compose(tetrads, tmp_path / "app")
    (activity, *_) = tetrads.registry.lineage("default", made.digest).activities
    assert activity.kind == "compose"
    ins = {edge.role: edge.policy for edge in activity.edges if edge.direction == "in"}
    assert ins == dict.fromkeys(("code", "data:fewshot", "model:primary", "prompt:system"), "reevaluate")
    data = made.manifest["data"][0]["digest"]
    down = tetrads.registry.lineage("default", data, direction="downstream").activities
    assert made.digest in {edge.digest for activity in down for edge in activity.edges}


def test_code_that_holds_other_parts_is_noted(tetrads: Tetrads, tmp_path: Path) -> None:
    made = compose(tetrads, tmp_path / "app", _DOT_tetradignore="data/\n")
    assert "prompts/system.md, tetrad.yaml are part of the code as well" in made.notes[0]


def test_a_dirty_repository_is_pinned_by_its_patch_and_said_so(tetrads: Tetrads, tmp_path: Path) -> None:
    if shutil.which("git") is None:
        pytest.skip("needs Git")
    folder = write_app(tmp_path / "app")
    for command in (["init", "-q"], ["add", "-A"], ["-c", "user.name=T", "-c", "user.email=t@x", "commit", "-qm", "1"]):
        subprocess.run(["git", *command], cwd=folder, check=True, capture_output=True)
    clean = tetrads.releases.compose_folder("default", folder, actor=ALICE)
    assert (clean.manifest["code"]["patch"], clean.notes) == (None, ())
    (folder / "bot.py").write_text("print('dirty')\n")
    dirty = tetrads.releases.compose_folder("default", folder, actor=ALICE)
    assert dirty.manifest["code"]["git"] == clean.manifest["code"]["git"]
    assert "not committed" in dirty.notes[0]
    patch = tetrads.registry.read("default", dirty.manifest["code"]["patch"])
    assert b"+print('dirty')" in patch
    assert tetrads.releases.resolve("default", dirty.digest).code_dirty


def test_a_ref_moves_only_to_a_release_of_its_app_and_only_from_where_it_was_seen(
    tetrads: Tetrads, tmp_path: Path
) -> None:
    one = compose(tetrads, tmp_path / "a")
    two = compose(tetrads, tmp_path / "b", bot_DOT_py="2")
    other = compose(tetrads, tmp_path / "c", tetrad_DOT_yaml=YAML.replace("app: bot", "app: other"))
    move = tetrads.releases.move_ref
    assert move("default", "bot", "production", one.digest, expected=None, create=True, actor=ALICE).revision == 1
    with pytest.raises(Conflict) as caught:
        move("default", "bot", "production", two.digest, expected=None, actor=ALICE)
    assert caught.value.status == 428
    with pytest.raises(RefMoved):
        move("default", "bot", "production", two.digest, expected=two.digest, actor=ALICE)
    with pytest.raises(WrongApp):
        move("default", "bot", "production", other.digest, expected=one.digest, actor=ALICE)
    with pytest.raises(ReleaseNotFound, match="not a release"):
        move("default", "bot", "production", one.manifest["prompt"][0]["digest"], expected=one.digest, actor=ALICE)
    with pytest.raises(AppNotFound):
        move("default", "none", "production", one.digest, expected=one.digest, actor=ALICE)
    with pytest.raises(BadName):
        move("default", "bot", "a/b", one.digest, expected=None, create=True, actor=ALICE)
    move("default", "bot", "production", two.digest, expected=one.digest, actor=BOB, reason="better")
    assert [entry.reason for entry in tetrads.releases.history("default", "bot")] == ["better", ""]
    assert {each.app.name: dict(each.refs) for each in tetrads.releases.every_app()} == {
        "bot": {"production": two.digest}, "other": {},
    }  # fmt: skip


def test_an_app_is_invisible_to_another_project(tetrads: Tetrads, tmp_path: Path) -> None:
    made = compose(tetrads, tmp_path / "app")
    with pytest.raises(AppNotFound):
        tetrads.releases.app("other", "bot")
    for ask in (tetrads.releases.release, tetrads.releases.resolve, tetrads.releases.parts):
        with pytest.raises(ReleaseNotFound):
            ask("other", made.digest)
    with pytest.raises(TetradError):
        tetrads.code.get("other", made.manifest["code"]["digest"])
    assert tetrads.releases.apps("other") == []


def test_tools_and_output_schema_of_a_prompt_reach_the_request(tetrads: Tetrads, tmp_path: Path) -> None:
    prompt = (
        "---\nparams: {temperature: 0.9, top_p: 0.8}\ntools:\n  - name: look_up\n    parameters: {type: object}\n"
        "output_schema: {type: object}\n---\n# system\n\nBe kind.\n"
    )
    made = compose(tetrads, tmp_path / "app", prompts__system_DOT_md=prompt)
    params = tetrads.releases.resolve("default", made.digest).params
    assert (params["temperature"], params["top_p"], params["max_tokens"]) == (0.5, 0.8, 20)
    assert params["tools"] == [{"type": "function", "function": {"name": "look_up", "parameters": {"type": "object"}}}]
    assert params["response_format"]["json_schema"]["schema"] == {"type": "object"}


CHAIN = (
    "---\nname: bot-chain\ntype: chain\nvariables:\n  question: string\n  tone: {type: string, default: calm}\nsteps:\n"
    "  - {name: look, prompt: bot-look, inputs: {q: variables.question}}\n"
    "  - {name: answer, prompt: bot-say, inputs: {found: look.output.found, tone: variables.tone}}\n---\n"
)
LOOK = (
    "---\nname: bot-look\nvariables: {q: string}\nparams: {temperature: 0.9, top_p: 0.7}\n"
    "metadata: {output: {repair: true}}\n"
    "output_schema: {type: object, properties: {found: {type: string}}, required: [found]}\n---\n"
    "# system\n\nLook for {{q}}.\n"
)
SAY = (
    "---\nname: bot-say\nvariables: {found: string, tone: string}\nmetadata: {output: {on_violation: report}}\n---\n"
    "# system\n\nSay {{found}} in {{tone}}.\n"
)


def test_a_chain_is_pinned_with_the_prompts_of_its_steps_and_routed_step_by_step(
    tetrads: Tetrads, tmp_path: Path
) -> None:
    for text in (LOOK, SAY):
        tetrads.prompts.commit("default", parse_prompt_file(text), actor=ALICE, expected_outcome="x")
    made = compose(tetrads, tmp_path / "app", prompts__system_DOT_md=CHAIN)
    graph = {step["step"]: step for step in made.manifest["graph"]}
    assert (graph["look"]["next"], graph["answer"]["next"]) == (["answer"], [])
    assert graph["look"]["sampling"] == {"temperature": 0.5, "top_p": 0.7, "max_tokens": 20}
    (pinned,) = made.manifest["prompt"]
    assert len(pinned["closure"]) == 2
    route = release_route(tetrads.releases.resolve("default", made.digest))
    assert route.messages == ()
    assert route.params == {}
    assert [(variable.name, bytes(variable.default)) for variable in route.variables] == [
        ("question", b""), ("tone", b'"calm"'),
    ]  # fmt: skip
    look, say = route.steps
    assert (look.step, look.inputs, look.repair, look.output) == ("look", {"q": "variables.question"}, True, "error")
    assert (say.step, say.output, say.messages[0].text) == ("answer", "report", "Say {{found}} in {{tone}}.")
    assert set(look.params) == {"temperature", "top_p", "max_tokens", "response_format"}
    parts = tetrads.releases.parts("default", made.digest)
    assert parts.prompts[0][1].name == pinned["name"]


def test_a_step_of_a_chain_shows_the_examples_that_its_own_prompt_names(tetrads: Tetrads, tmp_path: Path) -> None:
    compose(tetrads, tmp_path / "before")  # keeps the dataset `bot-shots`
    for text in (LOOK, SAY.replace("name: bot-say\n", "name: bot-say\nexamples: bot-shots@^1\n")):
        tetrads.prompts.commit("default", parse_prompt_file(text), actor=ALICE, expected_outcome="x")
    declared = YAML.replace("data:\n  - {role: fewshot, name: bot-shots, file: data/shots.jsonl}\n", "")
    made = compose(tetrads, tmp_path / "app", prompts__system_DOT_md=CHAIN, tetrad_DOT_yaml=declared)
    assert [part["name"] for part in made.manifest["data"]] == ["bot-shots"]
    look, say = release_route(tetrads.releases.resolve("default", made.digest)).steps
    assert look.examples == ()
    assert [(each.role, each.text) for each in say.examples] == [("user", "Hi"), ("assistant", "Hello!")]


def test_a_step_of_a_chain_may_have_a_model_of_its_own(tetrads: Tetrads, tmp_path: Path) -> None:
    tetrads.add_model(tmp_path, name="local/other", content=b"other")
    for text in (LOOK, SAY):
        tetrads.prompts.commit("default", parse_prompt_file(text), actor=ALICE, expected_outcome="x")
    listed = "model:\n  - {name: local/smollm2-135m}\n"
    declared = YAML.replace(
        listed, listed + "  - {role: step, name: local/other}\nsteps: {look: {model: local/other}}\n"
    )
    made = compose(tetrads, tmp_path / "app", prompts__system_DOT_md=CHAIN, tetrad_DOT_yaml=declared)
    route = release_route(tetrads.releases.resolve("default", made.digest))
    assert (route.model, [step.model for step in route.steps]) == (
        "local/smollm2-135m", ["local/other", "local/smollm2-135m"],
    )  # fmt: skip
    wrong = declared.replace("{look: ", "{nothing: ")
    with pytest.raises(TetradError, match="no step 'nothing'"):
        compose(tetrads, tmp_path / "wrong", prompts__system_DOT_md=CHAIN, tetrad_DOT_yaml=wrong)
    with pytest.raises(TetradError, match="the prompt is no chain"):
        compose(tetrads, tmp_path / "plain", tetrad_DOT_yaml=declared)
    unlisted = declared.replace("model: local/other}}", "model: local/third}}")
    with pytest.raises(TetradError, match="not in `model`"):
        compose(tetrads, tmp_path / "unlisted", prompts__system_DOT_md=CHAIN, tetrad_DOT_yaml=unlisted)


def test_a_prompt_that_says_nonsense_of_its_answers_is_refused(tetrads: Tetrads, tmp_path: Path) -> None:
    prompt = "---\nmetadata: {output: {on_violation: explode}}\n---\n# system\n\nBe kind.\n"
    with pytest.raises(PromptError, match=r"metadata\.output"):
        compose(tetrads, tmp_path / "app", prompts__system_DOT_md=prompt)


def test_the_reason_of_a_composition_is_that_of_its_prompts_where_the_policy_asks_for_one(
    database: Database, tmp_path: Path
) -> None:
    strict = wire(database, prompt_policy=PromptPolicy(documentation="refuse", fields=("reason", "expected_outcome")))
    strict.add_model(tmp_path)
    folder = write_app(tmp_path / "app")
    with pytest.raises(TetradError, match="reason is empty; expected_outcome is empty"):
        strict.releases.compose_folder("default", folder, actor=ALICE, git=False)
    words = {"reason": "the first one", "expected_outcome": "it answers"}
    made = strict.releases.compose_folder("default", folder, actor=ALICE, git=False, **words)
    lock = lock_of(made.manifest)
    again = strict.releases.compose_folder("default", folder, actor=ALICE, git=False, locked=lock, **words)
    assert again.digest == made.digest
