"""`tetrad.yaml`: what is read, and what is refused at which line."""

from __future__ import annotations

from pathlib import Path

import pytest

from tetrad.releases import BadDeclaration, DataPart, ModelPart, PromptPart, parse_declaration

EXAMPLE = Path(__file__).parents[3] / "examples/assistant/tetrad.yaml"
WHOLE = b"""\
app: support-bot
description: Answers
code:
  path: src
  lock: uv.lock
  runtime:
    python: "3.11"
data:
  - {role: fewshot, name: shots, file: data/shots.jsonl, key: id}
  - role: eval
    name: cases
    version: 1.2.0
model:
  - name: local/smollm2-135m
  - {role: judge, name: judge, version: 2.0.0}
prompt:
  - {name: support-system, file: prompts/system.md}
sampling:
  temperature: 0.2
  stop: ["\\n", END]
  logit_bias: {"50256": -100}
  seed: null
  logprobs: true
"""


def test_a_whole_declaration_is_read() -> None:
    found = parse_declaration(WHOLE)
    assert (found.app, found.code.path, found.code.lock, found.code.runtime) == (
        "support-bot",
        "src",
        "uv.lock",
        {"python": "3.11"},
    )
    assert found.data == (
        DataPart("fewshot", "shots", "data/shots.jsonl", "", "id", 9),
        DataPart("eval", "cases", "", "1.2.0", None, 10),
    )
    assert found.model == (ModelPart("primary", "local/smollm2-135m", "", 14), ModelPart("judge", "judge", "2.0.0", 15))
    assert found.prompt == (PromptPart("system", "support-system", "prompts/system.md", "", 17),)
    assert found.sampling == {
        "temperature": 0.2, "stop": ["\n", "END"], "logit_bias": {"50256": -100}, "seed": None, "logprobs": True,
    }  # fmt: skip


def test_the_example_is_read() -> None:
    assert parse_declaration(EXAMPLE.read_bytes()).app == "assistant"


BASE = "app: a\nmodel: [{name: m}]\n"


@pytest.mark.parametrize(
    ("text", "place", "says"),
    [
        ("", "1:1", "empty"),
        ("[]", "1:1", "is a mapping, not a list"),
        ("app: [a", "1:8", "not YAML"),
        ("app: a\n\tx: 1", "2:1", "not YAML"),
        (BASE + "colour: red", "3:1", "no field 'colour'"),
        (BASE + "app: b", "3:1", "'app' stands twice"),
        ("model: [{name: m}]", "1:1", "names no app"),
        ("app: Support Bot\nmodel: [{name: m}]", "1:6", "'Support Bot' is no name of an app"),
        ("app: 12\nmodel: [{name: m}]", "1:6", 'is a text, not a number; write "12"'),
        ("app: a", "1:1", "no model has the role primary"),
        ("app: a\nmodel: [{name: m}, {name: n}]", "2:8", "2 models have the role primary"),
        ("app: a\nmodel: {name: m}", "2:8", "model is a list, not a mapping"),
        ("app: a\nmodel: [{name: ../m}]", "2:16", "'../m' is no name of a model"),
        ("app: a\nmodel: [{role: boss, name: m}]", "2:16", "'boss' is no role of model"),
        (BASE + "data: [{name: d, file: d}]", "3:8", "names its role"),
        (BASE + "data: [{role: eval, name: d}]", "3:8", "names a file, or the version"),
        (BASE + "data: [{role: eval, name: d, file: d, version: 1.0.0}]", "3:8", "not both"),
        (BASE + "data: [{role: eval, name: a/b, file: d}]", "3:27", "no name of a data"),
        (BASE + "data: [{role: eval, name: d, version: v1}]", "3:39", "no version number"),
        (BASE + "prompt: [{name: p, file: ../p.md}]", "3:26", "does not stay inside its folder"),
        (BASE + "prompt: [{name: p, file: /p.md}]", "3:26", "not a relative path"),
        (BASE + "prompt: [{name: p, file: p}, {name: q, file: q}]", "3:9", "two prompts have the role system"),
        (BASE + "code: {path: ..}", "3:14", "does not stay inside"),
        (BASE + "code: {runtime: {python: 3.11}}", "3:26", 'write "3.11"'),
        (BASE + "sampling: {model: x}", "3:19", "no parameter of sampling"),
        (BASE + "sampling: {stop: yes}", "3:18", "can be read in two ways"),
        (BASE + "sampling: {seed: 0x1f}", "3:18", "can be read in two ways"),
        (BASE + "sampling: {seed: 010}", "3:18", "can be read in two ways"),
        (BASE + "sampling: {temperature: .nan}", "3:25", "can be read in two ways"),
        (BASE + "sampling: {when: 2026-01-01}", "3:18", "can be read in two ways"),
        (BASE + "sampling: {seed: 9007199254740993}", "3:18", "beyond"),
        (BASE + "sampling: &a {seed: 1}", "3:11", "anchors and aliases"),
        (BASE + "sampling: !!python/object:os.system {}", "3:11", "tags are not read"),
        (BASE + "sampling: {a: " + "[" * 30 + "]" * 30 + "}", "3:", "nested deeper"),
        ("app: a\n---\napp: b", "2:1", "not YAML"),
        ("app: \xff", "1:6", ""),
    ],
)
def test_every_fault_is_told_with_its_place(text: str, place: str, says: str) -> None:
    data = text.encode("latin-1") if "\xff" in text else text.encode()
    with pytest.raises(BadDeclaration) as caught:
        parse_declaration(data)
    assert says in caught.value.message
    assert f"tetrad.yaml:{place}" in caught.value.message or not says
    assert caught.value.hint


def test_no_app_takes_the_name_of_what_binds_environments() -> None:
    with pytest.raises(BadDeclaration, match=r"tetrad\.yaml:1:6: 'bindings' cannot name an app"):
        parse_declaration(b"app: bindings\nmodel:\n  - {name: local/smollm2-135m}\n")


def test_all_faults_are_told_at_once_in_the_order_of_lines() -> None:
    with pytest.raises(BadDeclaration) as caught:
        parse_declaration(b"app: A\ncolour: red\nmodel:\n  - name: B!\nsampling:\n  x: yes\n")
    assert [error.line for error in caught.value.errors] == [1, 2, 4, 6]


def test_a_thousand_faults_are_not_all_told() -> None:
    with pytest.raises(BadDeclaration) as caught:
        parse_declaration(b"app: a\n" + b"".join(b"x%d: 1\n" % n for n in range(1000)))
    assert len(caught.value.errors) == 20


def test_a_bomb_of_aliases_is_refused_unexpanded() -> None:
    lines = ["a0: &a0 [x]"] + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 30)]
    with pytest.raises(BadDeclaration, match="anchors"):
        parse_declaration("\n".join(lines).encode())


def test_a_file_that_is_too_large_is_refused() -> None:
    with pytest.raises(BadDeclaration, match="at most"):
        parse_declaration(b"#" * 300_000)


ENGINE = (
    "app: bot\nmodel:\n  - name: local/m\n    engine: {name: llama_cpp, version: '>=2026.10,<2027', context: 2048}\n"
)


def test_what_must_serve_the_weights_can_be_declared() -> None:
    (part,) = parse_declaration(ENGINE.encode()).model
    assert part.engine is not None
    assert part.engine.part() == {"name": "llama_cpp", "version": ">=2026.10,<2027", "context": 2048}
    (bare,) = parse_declaration(b"app: bot\nmodel: [{name: local/m, engine: {name: vllm}}]\n").model
    assert bare.engine is not None
    assert bare.engine.part() == {"name": "vllm"}
    (none,) = parse_declaration(b"app: bot\nmodel: [{name: local/m}]\n").model
    assert none.engine is None


@pytest.mark.parametrize(
    ("engine", "why"),
    [
        ("{}", "engine has a name"),
        ("{name: Llama}", "no kind of engine"),
        ("{name: llama_cpp, version: new}", "says no versions"),
        ("{name: llama_cpp, context: 5}", "context is a number of tokens"),
        ("{name: llama_cpp, context: many}", "context is a number of tokens"),
        ("{name: llama_cpp, threads: 2}", "threads"),
    ],
)
def test_a_wrong_engine_is_refused_with_its_place(engine: str, why: str) -> None:
    with pytest.raises(BadDeclaration) as refused:
        parse_declaration(f"app: bot\nmodel:\n  - name: local/m\n    engine: {engine}\n".encode())
    assert any(why in error.reason and error.line == 4 for error in refused.value.errors)
