"""Prompts on both databases: commits, numbers, includes, chains, labels, releases, gateways."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from support.apps import YAML, write_app
from support.tetrads import ALICE, Tetrads, wire
from tetrad.kernel import InvalidInput, NotFound, Principal
from tetrad.kit.db import Database
from tetrad.prompts import (
    Committed,
    LoweringForbidden,
    PolicyRefused,
    PromptError,
    PromptMoved,
    PromptNotFound,
    PromptPolicy,
    VersionTooLow,
)
from tetrad.registry import RefMoved

REVIEWER = Principal("key_rita", "key", "Rita", frozenset({"control", "review"}))
TONE = "---\nname: tone-kind\ndescription: How we speak.\ntype: text\n---\nBe kind.\n"
HEAD = "---\nname: support-answer\ndescription: Answers.\nvariables: {q: string}\n---\n"
MAIN = HEAD + "# system\n\n{{> tone-kind@^1}}\n\n# user\n\n{{q}}\n"


class Log:
    def __init__(self) -> None:
        self.entries: list[tuple[str, str, dict[str, Any]]] = []

    def record(self, actor: Principal, action: str, target: str, project: str | None, **detail: Any) -> None:
        self.entries.append((action, target, detail))


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture
def tetrads(database: Database, tmp_path: Path, log: Log) -> Tetrads:
    made = wire(database, audit=log)
    made.add_model(tmp_path)
    return made


def commit(tetrads: Tetrads, text: str, actor: Principal = ALICE, **more: Any) -> Committed:
    name = text.split("name: ", 1)[1].split("\n", 1)[0]
    return tetrads.prompts.commit("default", tetrads.prompts.read(name, text), actor=actor, **more)


def semver(done: Committed) -> str:
    return done.kept.version.semver


def test_the_number_follows_from_the_change(tetrads: Tetrads) -> None:
    assert semver(commit(tetrads, TONE)) == "1.0.0"
    again = commit(tetrads, TONE)
    assert (semver(again), again.new) == ("1.0.0", False)
    assert semver(commit(tetrads, TONE.replace("kind.\n", "very kind.\n"))) == "1.0.1"
    assert semver(commit(tetrads, TONE.replace("type: text", "type: text\nparams: {temperature: 1}"))) == "1.1.0"
    assert semver(commit(tetrads, TONE.replace("type: text", "type: text\nvariables: {x: string}"))) == "2.0.0"
    back = commit(tetrads, TONE)
    assert (semver(back), back.new) == ("3.0.0", True)
    find = tetrads.prompts.find
    assert find("default", "tone-kind", version="^1").version.semver == "1.1.0"
    assert find("default", "tone-kind", version="1.0.1").version.semver == "1.0.1"
    assert find("default", "tone-kind").version.semver == "3.0.0"
    with pytest.raises(PromptNotFound, match=r"fits \^4"):
        find("default", "tone-kind", version="^4")
    with pytest.raises(PromptNotFound):
        find("other", "tone-kind")


def test_a_number_that_is_too_low_needs_a_reviewer_and_is_audited(tetrads: Tetrads, log: Log) -> None:
    commit(tetrads, TONE)
    breaking = TONE.replace("type: text", "type: text\nvariables: {x: string}")
    with pytest.raises(VersionTooLow, match=r"major change .*'x' is new and must be given"):
        commit(tetrads, breaking, semver="1.0.1")
    with pytest.raises(VersionTooLow):
        commit(tetrads, breaking, REVIEWER, semver="1.1.0")
    with pytest.raises(LoweringForbidden, match="Alice"):
        commit(tetrads, breaking, semver="1.0.1", lower_reason="nobody uses it yet")
    assert tetrads.prompts.find("default", "tone-kind").version.semver == "1.0.0"
    assert log.entries == []
    done = commit(tetrads, breaking, REVIEWER, semver="1.0.1", lower_reason="nobody uses it yet")
    assert semver(done) == "1.0.1"
    assert done.kept.version.meta["lowered"]["reason"] == "nobody uses it yet"
    assert [(action, target, detail["floor"]) for action, target, detail in log.entries] == [
        ("prompt.lower_version", "tone-kind@1.0.1", "major")
    ]
    assert semver(commit(tetrads, TONE + "More.\n", semver="5.0.0")) == "5.0.0"


def test_includes_are_pinned_and_what_they_bring_counts(tetrads: Tetrads) -> None:
    with pytest.raises(PromptNotFound, match="tone-kind"):
        commit(tetrads, MAIN)
    commit(tetrads, TONE)
    first = commit(tetrads, MAIN)
    assert first.kept.composition is not None
    assert first.kept.composition.spec.messages[0].text == "Be kind."
    tone = tetrads.prompts.find("default", "tone-kind").version.digest
    assert first.kept.closure == (tone,)
    assert tetrads.registry.parts("default", first.kept.version.digest) == [(tone, "include")]
    commit(tetrads, TONE.replace("kind.\n", "brief.\n"))
    kept = tetrads.prompts.by_digest("default", first.kept.version.digest, "support-answer")
    assert kept.composition == first.kept.composition
    second = commit(tetrads, MAIN)
    assert semver(second) == "1.0.1"
    assert second.kept.spec.source == first.kept.spec.source
    commit(tetrads, TONE.replace("type: text", "type: text\nparams: {temperature: 1}"))
    third = commit(tetrads, MAIN)
    assert semver(third) == "1.1.0"
    assert third.floor is not None
    assert third.floor.changes[0].what == "the included prompt 'tone-kind' has a minor change"
    with pytest.raises(PromptError, match="a prompt of messages"):
        commit(tetrads, TONE.replace("Be kind.", "{{> support-answer}}"))
    commit(tetrads, TONE.replace("tone-kind", "tone-close").replace("Be kind.", "{{> tone-kind}} Bye."))
    with pytest.raises(PromptError, match="tone-kind → tone-close → tone-kind"):
        commit(tetrads, TONE.replace("Be kind.", "{{> tone-close}}"))


def test_of_two_who_saw_the_same_version_the_second_is_told(tetrads: Tetrads) -> None:
    first = commit(tetrads, TONE, expected="")
    seen = first.kept.version.digest
    commit(tetrads, TONE + "A.\n", expected=seen)
    with pytest.raises(PromptMoved) as caught:
        commit(tetrads, TONE + "B.\n", expected=seen)
    assert caught.value.status == 409
    assert caught.value.current == tetrads.prompts.find("default", "tone-kind").version.digest
    with pytest.raises(PromptMoved):
        commit(tetrads, TONE + "C.\n", expected="")


def test_the_policy_warns_or_refuses(database: Database) -> None:
    bare = "---\nname: triage\n---\n# system\n\nHi\n"
    assert commit(wire(database), bare).warnings == (
        "the name 'triage' is not {feature}-{purpose}, such as support-triage", "description is empty",
    )  # fmt: skip
    strict = wire(database, prompt_policy=PromptPolicy("refuse", "refuse", ("description", "reason", "metadata.owner")))
    with pytest.raises(PolicyRefused, match=r"'other' is not .*reason is empty; metadata.owner is empty"):
        commit(strict, bare.replace("triage", "other"))
    with pytest.raises(PromptNotFound):
        strict.prompts.find("default", "other")
    good = "---\nname: a-b\ndescription: D.\nmetadata: {owner: kim}\n---\n# system\n\nHi\n"
    assert commit(strict, good, reason="why").warnings == ()
    assert (
        commit(wire(database, prompt_policy=PromptPolicy("off", "off")), "---\nname: x\n---\n# user\n\nHi\n").warnings
        == ()
    )


def test_a_chain_is_pinned_checked_and_numbered(tetrads: Tetrads) -> None:
    for name in ("support-draft", "support-final"):
        commit(tetrads, f"---\nname: {name}\nvariables: {{q: string}}\n---\n# user\n\n{name}: {{{{q}}}}\n")
    chain = (
        "---\nname: support-chain\ntype: chain\nvariables: {question: string}\nsteps:\n"
        "  - {name: draft, prompt: support-draft, inputs: {q: variables.question}}\n"
        "  - {name: final, prompt: support-final, inputs: {q: draft.text}}\n---\n"
    )
    done = commit(tetrads, chain)
    assert len(done.kept.closure) == 2
    assert tetrads.prompts.find("default", "support-chain").spec == done.kept.spec
    commit(tetrads, "---\nname: support-draft\nvariables: {q: string}\n---\n# user\n\nDraft: {{q}}\n")
    assert semver(commit(tetrads, chain)) == "1.1.0"
    with pytest.raises(PromptError, match="nothing feeds 'q'"):
        commit(tetrads, chain.replace("inputs: {q: draft.text}", "inputs: {}"))
    with pytest.raises(PromptError, match="is a chain"):
        tetrads.prompts.render("default", done.kept.spec, {})


def test_rendering_puts_values_and_messages_in_their_places(tetrads: Tetrads) -> None:
    commit(tetrads, TONE)
    text = MAIN + "\n# placeholder\n\nmessages\n\n# assistant\n\nEnd.\n"
    spec = tetrads.prompts.read("support-answer", text)
    client = [{"role": "user", "content": "Mine {{q}}"}]
    assert tetrads.prompts.render("default", spec, {"q": "Why?"}, client) == [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "Why?"},
        *client,
        {"role": "assistant", "content": "End."},
    ]
    with pytest.raises(PromptError, match="the variable 'q' has no value"):
        tetrads.prompts.render("default", spec, {})


def test_labels_move_by_compare_and_swap_and_name_versions(tetrads: Tetrads) -> None:
    first = commit(tetrads, TONE).kept.version
    commit(tetrads, TONE + "More.\n")
    move = tetrads.prompts.move_label
    move("default", "tone-kind", "stable", "1.0.0", actor=ALICE, create=True)
    assert tetrads.prompts.find("default", "tone-kind", label="stable").version == first
    with pytest.raises(RefMoved):
        move("default", "tone-kind", "stable", "", actor=ALICE, create=True)
    move("default", "tone-kind", "stable", "", actor=ALICE, expected=first.digest)
    assert tetrads.prompts.find("default", "tone-kind", label="stable").version.semver == "1.0.1"
    assert [ref.name for ref in tetrads.prompts.labels("default", "tone-kind")] == ["prompts/tone-kind/stable"]
    with pytest.raises(PromptNotFound, match="no label 'beta'"):
        tetrads.prompts.find("default", "tone-kind", label="beta")
    with pytest.raises(InvalidInput, match="a version, a label and a ref"):
        tetrads.prompts.find("default", "tone-kind", label="stable", version="1")


def test_a_release_pins_includes_and_the_examples_that_a_prompt_names(tetrads: Tetrads, tmp_path: Path) -> None:
    commit(tetrads, TONE)
    shots = b'{"input": "Hi", "output": "Hello!"}\n'
    tetrads.datasets.import_jsonl("default", "answer-shots", shots, actor=ALICE)
    yaml = YAML.replace("data:\n  - {role: fewshot, name: bot-shots, file: data/shots.jsonl}\n", "")
    prompt = "---\nname: bot-system\nexamples: answer-shots@^1\n---\n# system\n\n{{> tone-kind}}\n"
    folder = write_app(
        tmp_path / "app", tetrad_DOT_yaml=yaml, prompts__system_DOT_md=prompt, data__shots_DOT_jsonl=None
    )
    made = tetrads.releases.compose_folder("default", folder, actor=ALICE)
    part = made.manifest["prompt"][0]
    assert part["closure"] == [tetrads.prompts.find("default", "tone-kind").version.digest]
    assert [(each["role"], each["name"]) for each in made.manifest["data"]] == [("fewshot", "answer-shots")]
    resolved = tetrads.releases.resolve("default", made.digest)
    assert [message.text for message in resolved.messages] == ["Be kind."]
    assert [message.text for message in resolved.examples] == ["Hi", "Hello!"]
    tetrads.releases.move_ref("default", "bot", "production", made.digest, expected=None, create=True, actor=ALICE)
    found = tetrads.prompts.find("default", "bot-system", ref="bot/production")
    assert found.version.digest == part["digest"]
    with pytest.raises(NotFound, match="holds no prompt 'tone-kind'"):
        tetrads.prompts.find("default", "tone-kind", ref="bot/production")
    write_app(
        folder, prompts__system_DOT_md=prompt.replace("@^1", "@^2"), tetrad_DOT_yaml=yaml, data__shots_DOT_jsonl=None
    )
    with pytest.raises(InvalidInput, match=r"fits \^2"):
        tetrads.releases.compose_folder("default", folder, actor=ALICE)


def test_two_versions_are_told_apart_message_by_message(tetrads: Tetrads) -> None:
    commit(tetrads, TONE)
    old = commit(tetrads, MAIN).kept
    changed = MAIN.replace("{{> tone-kind@^1}}", "Rules.\n{{> tone-kind@^1}}").replace(
        "# user\n", "# assistant\n\nOk.\n\n# user\n"
    )
    new = commit(tetrads, changed).kept
    diff = tetrads.prompts.diff("default", old, new)
    assert [(each.change, each.role) for each in diff.messages] == [
        ("changed", "system"), ("added", "assistant"), ("same", "user"),
    ]  # fmt: skip
    assert [(line.mark, line.text) for line in diff.messages[0].lines] == [("+", "Rules."), (" ", "{{> tone-kind@^1}}")]
    assert (diff.floor.level, diff.same) == ("major", False)
    assert tetrads.prompts.diff("default", old, old).same
