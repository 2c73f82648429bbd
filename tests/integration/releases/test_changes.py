"""Locks, derived releases, differences and rollbacks, on both databases."""

from __future__ import annotations

import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest

from support.apps import FILES, YAML, write_app
from support.tetrads import ALICE, BOB, Tetrads, wire
from tetrad.kernel import InvalidInput, TetradError
from tetrad.kit.db import Database
from tetrad.registry import GateRefused, RefMoved, RefNotFound
from tetrad.registry.ports import RefMove
from tetrad.releases import BadPart, Composed, LockDrift, NeverHad, NothingToRollBack, ReleaseNotFound
from tetrad.releases._lock import lock_of
from tetrad.releases._summary import summarise

PROMPT = FILES["prompts/system.md"]


@pytest.fixture
def tetrads(database: Database, tmp_path: Path) -> Tetrads:
    made = wire(database)
    made.add_model(tmp_path)
    return made


def compose(tetrads: Tetrads, folder: Path, **more: str | None) -> Composed:
    return tetrads.releases.compose_folder("default", write_app(folder, **more), actor=ALICE)


def point(tetrads: Tetrads, digest: str, expected: str | None = None, ref: str = "production") -> None:
    tetrads.releases.move_ref(
        "default", "bot", ref, digest, expected=expected, create=expected is None, actor=ALICE, reason="test"
    )


def three(tetrads: Tetrads, folder: Path) -> list[str]:
    """Three releases that production had, one after the other."""
    made = [compose(tetrads, folder / str(n), bot_DOT_py=f"print({n})\n").digest for n in range(3)]
    for before, digest in zip([None, *made], made, strict=False):
        point(tetrads, digest, before)
    return list(made)


# -- the lock ----------------------------------------------------------------------------------------------------------


def test_the_lock_of_a_folder_holds_until_a_part_changes_and_then_names_the_part(
    tetrads: Tetrads, tmp_path: Path
) -> None:
    folder = write_app(tmp_path / "app")
    lock = lock_of(tetrads.releases.compose_folder("default", folder, actor=ALICE).manifest)
    again = tetrads.releases.compose_folder("default", folder, actor=ALICE, locked=lock)
    assert not again.new
    before = tetrads.blobs.puts
    drifted: dict[str, dict[str, str]] = {
        "code tree": {"bot_DOT_py": "print('x')\n"},
        "prompt system bot-system": {"prompts__system_DOT_md": PROMPT.replace("Be", "Stay")},
        "data fewshot bot-shots": {"data__shots_DOT_jsonl": '{"input": "Hi", "output": "No."}\n'},
        "sampling temperature": {"tetrad_DOT_yaml": YAML.replace("0.5", "0.9")},
    }
    for part, change in drifted.items():
        write_app(folder, **change)
        with pytest.raises(LockDrift, match=part) as caught:
            tetrads.releases.compose_folder("default", folder, actor=ALICE, locked=lock)
        assert len(caught.value.parts) == 1
        write_app(folder)
    tetrads.add_model(tmp_path, content=b"other weights")
    puts_of_the_model = tetrads.blobs.puts
    with pytest.raises(LockDrift, match="model primary local/smollm2-135m"):
        tetrads.releases.compose_folder("default", folder, actor=ALICE, locked=lock)
    assert tetrads.blobs.puts == puts_of_the_model, "a refused release leaves nothing behind"
    assert puts_of_the_model - before <= 1
    assert len(tetrads.releases.releases("default", "bot")) == 1


def test_a_lock_that_is_committed_still_holds(tetrads: Tetrads, tmp_path: Path) -> None:
    folder = write_app(tmp_path / "app")

    def git(*arguments: str) -> None:
        subprocess.run(
            ["git", "-c", "user.name=a", "-c", "user.email=a@example.org", *arguments],
            cwd=folder, check=True, capture_output=True,
        )  # fmt: skip

    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "one")
    first = tetrads.releases.compose_folder("default", folder, actor=ALICE)
    assert not first.dirty
    (folder / "tetrad.lock").write_text("the lock")
    git("add", ".")
    git("commit", "-qm", "lock")
    second = tetrads.releases.compose_folder("default", folder, actor=ALICE, locked=lock_of(first.manifest))
    assert (second.digest != first.digest, second.dirty) == (True, False), "another commit, the same parts"


# -- derived releases --------------------------------------------------------------------------------------------------


def test_another_prompt_and_a_parameter_make_the_next_release_without_a_folder(
    tetrads: Tetrads, tmp_path: Path
) -> None:
    base = compose(tetrads, tmp_path / "a")
    compose(tetrads, tmp_path / "b", prompts__system_DOT_md=PROMPT.replace("Be", "Always be"))
    derive = tetrads.releases.derivations.derive
    made = derive(
        "default", base.digest, {"prompt.system": "bot-system@1.0.1", "sampling.temperature": 0.1}, actor=BOB,
        reason="calmer",
    )  # fmt: skip
    resolved = tetrads.releases.resolve("default", made.digest)
    assert (made.new, resolved.messages[0].text, resolved.params["temperature"]) == (True, "Always be {{tone}}.", 0.1)
    assert made.manifest["code"] == base.manifest["code"]
    assert (made.version.reason, made.version.author) == ("calmer", BOB.id)
    (activity,) = tetrads.registry.lineage("default", made.digest, direction="upstream", depth=1).activities
    assert activity.kind == "derive"
    assert {edge.digest for edge in activity.edges if edge.role == "base"} == {base.digest}
    again = derive(
        "default", base.digest, {"sampling.temperature": 0.1, "prompt.system": "bot-system@1.0.1"}, actor=BOB
    )
    assert (again.digest, again.new) == (made.digest, False)


def test_no_change_is_no_new_release_and_going_back_gives_the_same_one(tetrads: Tetrads, tmp_path: Path) -> None:
    base = compose(tetrads, tmp_path / "a")
    derive = tetrads.releases.derivations.derive
    assert derive("default", base.digest, {}, actor=BOB).digest == base.digest
    there = derive("default", base.digest, {"sampling.seed": 7}, actor=BOB)
    assert there.digest != base.digest
    assert derive("default", there.digest, {"sampling.seed": None}, actor=BOB).digest == base.digest


def test_parameters_that_a_prompt_brought_go_with_it_and_the_apps_own_stay(tetrads: Tetrads, tmp_path: Path) -> None:
    warm = PROMPT.replace("variables:", "params: {temperature: 1.5, top_p: 0.9}\nvariables:")
    base = compose(tetrads, tmp_path / "a", prompts__system_DOT_md=warm)
    assert base.manifest["graph"][0]["sampling"] == {"temperature": 0.5, "max_tokens": 20, "top_p": 0.9}
    compose(tetrads, tmp_path / "b", prompts__system_DOT_md=PROMPT)
    version = tetrads.registry.versions("default", "prompt", "bot-system", limit=1)[0].semver
    made = tetrads.releases.derivations.derive(
        "default", base.digest, {"prompt.system": f"bot-system@{version}"}, actor=BOB
    )
    assert made.manifest["graph"][0]["sampling"] == {"temperature": 0.5, "max_tokens": 20}


@pytest.mark.parametrize(
    ("patches", "message", "hint"),
    [
        ({"prompt.system": "bot-system@9.9.9"}, "prompt.system=bot-system@9.9.9", "versions of bot-system are 1.0.0"),
        ({"prompt.system": "nobody@1.0.0"}, "prompt.system", "prompts of the project are bot-system"),
        ({"prompt.tail": "x"}, "'tail' is no role of prompt", "roles are system"),
        ({"model.chat": "local/none"}, "model.primary=local/none", "models of the project are local/smollm2-135m"),
        ({"model.primary": None}, "a release has a primary model", "another one"),
        ({"data.fewshot/other": "x"}, "the release has no data.fewshot/other", "it has bot-shots"),
        ({"data.fewshot": "bot-shots@7.0.0"}, "data.fewshot=bot-shots@7.0.0", "versions of bot-shots are 1.0.0"),
        ({"sampling.model": "x"}, "no parameter of sampling", "temperature"),
        ({"sampling.seed": None}, "sampling.seed is not set", "max_tokens, temperature"),
        ({"weather": "sunny"}, "'weather' is no part", "parts are"),
        ({"prompt.system": 7}, "prompt.system is set to a name", "NAME@VERSION"),
        ({"model.primary": "local/smollm2-135m", "model.chat": "local/smollm2-135m"}, "set twice", "once"),
    ],
)
def test_a_part_that_is_not_there_is_named_with_those_that_are(
    tetrads: Tetrads, tmp_path: Path, patches: dict[str, Any], message: str, hint: str
) -> None:
    base = compose(tetrads, tmp_path / "a")
    with pytest.raises(BadPart) as caught:
        tetrads.releases.derivations.derive("default", base.digest, patches, actor=BOB)
    assert message in caught.value.message
    assert hint in caught.value.hint
    assert len(tetrads.releases.releases("default", "bot")) == 1


# -- differences -------------------------------------------------------------------------------------------------------


def test_a_difference_tells_every_part_in_its_own_terms(tetrads: Tetrads, tmp_path: Path) -> None:
    old = compose(tetrads, tmp_path / "a")
    tetrads.add_model(tmp_path, content=b"other weights")
    new = compose(
        tetrads, tmp_path / "b", bot_DOT_py="print('bye')\n", extra_DOT_py="\n", data__shots_DOT_jsonl=(
            '{"input": "Hi", "output": "Hello there!"}\n{"input": "Bye", "output": "Bye."}\n'
        ), tetrad_DOT_yaml=YAML.replace("0.5", "0.7"),
        prompts__system_DOT_md=PROMPT.replace("Be {{tone}}.", "Be very {{tone}} to {{who}}.").replace(
            "variables:", "variables:\n  who: {}"
        ),
    )  # fmt: skip
    diff = tetrads.releases.comparisons.diff("default", old.digest, new.digest)
    (prompt,), (data,), (model,) = diff.prompt, diff.data, diff.model
    (message,) = prompt.messages
    assert [(w.op, w.text) for w in message.hunks[0].words if w.op == "insert"] == [
        ("insert", "very "),
        ("insert", " to {{who}}"),
    ] or "very" in "".join(w.text for w in message.hunks[0].words if w.op == "insert")
    assert (prompt.contract_changed, prompt.floor, prompt.verdict) == (True, "major", "kept")
    assert [each.path for each in prompt.variables] == ["/who"]
    assert (data.added, data.changed, data.removed) == (1, 1, 0)
    assert [(f.path, f.old, f.new) for f in data.rows[0].fields] == [("/output", "Hello!", "Hello there!")]
    assert {each.path for each in model.facts} >= {"digest"}
    assert diff.code is not None
    assert [(file.path, file.change) for file in diff.code.files] == [("bot.py", "changed"), ("extra.py", "added")]
    assert [(each.path, each.old, each.new) for each in diff.sampling] == [("/temperature", 0.5, 0.7)]
    assert len(summarise(diff)) == 5


def test_nothing_differs_between_a_release_and_itself(tetrads: Tetrads, tmp_path: Path) -> None:
    digest = compose(tetrads, tmp_path / "a").digest
    diff = tetrads.releases.comparisons.diff("default", digest, digest)
    assert diff.same
    assert (diff.prompt, diff.data, diff.model, diff.code, diff.sampling, diff.config) == ((), (), (), None, (), ())


def test_rows_of_a_large_dataset_are_counted_all_and_told_in_part(tetrads: Tetrads, tmp_path: Path) -> None:
    yaml = YAML.replace("role: fewshot", "role: eval").replace("shots.jsonl", "shots.jsonl, key: id")
    rows = [f'{{"id": {n}, "text": "row {n}"}}' for n in range(3000)]
    old = compose(tetrads, tmp_path / "a", tetrad_DOT_yaml=yaml, data__shots_DOT_jsonl="\n".join(rows))
    for n in range(0, 100, 2):
        rows[n] = rows[n].replace("row", "line")
    new = compose(tetrads, tmp_path / "b", tetrad_DOT_yaml=yaml, data__shots_DOT_jsonl="\n".join(rows[:-1]))
    (data,) = tetrads.releases.comparisons.diff("default", old.digest, new.digest, rows=5).data
    assert (data.changed, data.removed, data.added, len(data.rows), data.more) == (50, 1, 0, 5, True)


def test_a_part_that_came_or_went_is_told_whole(tetrads: Tetrads, tmp_path: Path) -> None:
    full = compose(tetrads, tmp_path / "a")
    derive = tetrads.releases.derivations.derive
    bare = derive("default", full.digest, {"prompt.system": None, "data.fewshot": None}, actor=BOB)
    diff = tetrads.releases.comparisons.diff("default", full.digest, bare.digest)
    assert [(each.change, each.messages[0].change) for each in diff.prompt] == [("removed", "removed")]
    assert [(each.change, each.removed, len(each.rows)) for each in diff.data] == [("removed", 1, 1)]
    back = tetrads.releases.comparisons.diff("default", bare.digest, full.digest)
    assert [(each.change, each.added) for each in back.data] == [("added", 1)]


# -- names -------------------------------------------------------------------------------------------------------------


def test_a_release_is_found_by_digest_ref_move_and_first_digits(tetrads: Tetrads, tmp_path: Path) -> None:
    made = three(tetrads, tmp_path)
    find = tetrads.releases.find
    assert find("default", made[0]) == made[0]
    assert find("default", "bot/production") == made[2]
    assert [find("default", f"bot/production@{n}") for n in (1, 2, 3, -1, -2)] == [*made, made[1], made[0]]
    assert find("default", made[1].removeprefix("sha256:")[:12], app="bot") == made[1]
    for bad, error in (
        ("bot/production@4", RefNotFound), ("bot/production@-3", RefNotFound), ("bot/production@x", InvalidInput),
        ("bot/nowhere", RefNotFound), ("sha256:" + "0" * 64, ReleaseNotFound), ("what?", InvalidInput),
    ):  # fmt: skip
        with pytest.raises(error):
            find("default", bad)
    with pytest.raises(ReleaseNotFound, match="no release of 'bot'"):
        find("default", "0000000000", app="bot")


# -- rollback ----------------------------------------------------------------------------------------------------------


def test_rolling_back_twice_goes_back_two_releases_and_then_ends(tetrads: Tetrads, tmp_path: Path) -> None:
    first, second, third = three(tetrads, tmp_path)
    roll_back = tetrads.releases.rollbacks.roll_back
    done = roll_back("default", "bot", "production", actor=BOB, reason="it swears")
    assert (done.old, done.new, done.ref.digest, done.forced) == (third, second, second, False)
    assert tetrads.releases.history("default", "bot", "production", limit=1)[0].reason == "rollback: it swears"
    assert roll_back("default", "bot", "production", actor=BOB).new == first
    with pytest.raises(NothingToRollBack):
        roll_back("default", "bot", "production", actor=BOB)
    assert tetrads.registry.verify_log("default").sound
    assert roll_back("default", "bot", "production", to=third, actor=BOB).new == third, "what it had it may have again"


def test_only_what_the_ref_had_is_gone_back_to_unless_forced_with_a_reason(tetrads: Tetrads, tmp_path: Path) -> None:
    first, _second, _third = three(tetrads, tmp_path)
    stranger = compose(tetrads, tmp_path / "s", bot_DOT_py="print('stranger')\n").digest
    roll_back = tetrads.releases.rollbacks.roll_back
    assert roll_back("default", "bot", "production", to=first, actor=BOB).new == first
    with pytest.raises(NeverHad):
        roll_back("default", "bot", "production", to=stranger, actor=BOB, reason="why not")
    with pytest.raises(InvalidInput, match="needs a reason"):
        roll_back("default", "bot", "production", to=stranger, actor=BOB, force=True, reason="  ")
    done = roll_back("default", "bot", "production", to=stranger, actor=BOB, force=True, reason="an emergency")
    assert (done.forced, done.reason) == (True, "forced rollback: an emergency")
    with pytest.raises(NothingToRollBack, match="already"):
        roll_back("default", "bot", "production", to=stranger, actor=BOB)


def test_what_a_ref_had_long_ago_it_may_have_again(
    tetrads: Tetrads, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, _ = three(tetrads, tmp_path)
    monkeypatch.setattr("tetrad.releases._rollback.LOOKED_BACK", 1)
    monkeypatch.setattr("tetrad.releases._names._PAGE", 1)
    assert tetrads.releases.rollbacks.roll_back("default", "bot", "production", to=first, actor=BOB).new == first
    assert tetrads.releases.find("default", "bot/production@2") == second
    with pytest.raises(RefNotFound):
        tetrads.releases.rollbacks.roll_back("default", "bot", "nowhere", actor=BOB)


def test_a_ref_that_went_to_and_fro_many_times_still_has_a_way_back(
    tetrads: Tetrads, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, second, third = three(tetrads, tmp_path)
    monkeypatch.setattr("tetrad.releases._names._PAGE", 2)
    for _ in range(5):
        assert tetrads.releases.rollbacks.roll_back("default", "bot", "production", actor=BOB).new == second
        point(tetrads, third, second)


def test_a_rollback_of_what_somebody_else_moved_does_nothing(tetrads: Tetrads, tmp_path: Path) -> None:
    _first, second, third = three(tetrads, tmp_path)
    with pytest.raises(RefMoved) as caught:
        tetrads.releases.rollbacks.roll_back("default", "bot", "production", expected=second, actor=BOB)
    assert caught.value.current == third
    assert tetrads.releases.ref("default", "bot", "production").digest == third


def test_of_concurrent_rollbacks_exactly_one_goes_back_one_step(tetrads: Tetrads, tmp_path: Path) -> None:
    _, second, third = three(tetrads, tmp_path)
    barrier = threading.Barrier(4)
    results: list[object] = []

    def go() -> None:
        barrier.wait()
        try:
            results.append(
                tetrads.releases.rollbacks.roll_back("default", "bot", "production", expected=third, actor=BOB).new
            )
        except TetradError as error:
            results.append(error.code)

    threads = [threading.Thread(target=go) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(map(str, results)) == sorted([second, "ref_moved", "ref_moved", "ref_moved"])


def test_a_rollback_asks_the_gate_of_a_governed_ref(database: Database, tmp_path: Path) -> None:
    class Closed:
        def check(self, move: RefMove, transaction: Any) -> None:
            raise GateRefused(f"no evidence for {move.new}")

    tetrads = wire(database, gates={"evidence": Closed()})
    tetrads.add_model(tmp_path)
    third = three(tetrads, tmp_path)[2]
    tetrads.registry.govern("default", "bot/*", "evidence", actor=ALICE)
    with pytest.raises(GateRefused):
        tetrads.releases.rollbacks.roll_back("default", "bot", "production", actor=BOB, reason="now")
    assert tetrads.releases.ref("default", "bot", "production").digest == third
