"""Pages: links lead somewhere, examples parse, snippets that need nothing run."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from support.docs_script import docs_script
from tetrad.kit.plain_yaml import parse_yaml
from tetrad.prompts import read_prompt_file

docs = docs_script()
SNIPPETS = [snippet for page in docs.pages() for snippet in docs.snippets(page)]


@pytest.mark.parametrize("page", docs.pages(), ids=lambda page: str(page.relative_to(docs.ROOT)))
def test_every_relative_link_leads_to_a_page_and_a_heading(page: Path) -> None:
    assert docs.broken_links(page) == []


@pytest.mark.parametrize("snippet", SNIPPETS, ids=lambda snippet: snippet.name)
def test_every_example_can_be_read_by_what_it_is_for(snippet: Any) -> None:
    language = snippet.info.split()[0] if snippet.info else ""
    if language == "python":
        compile(snippet.text, snippet.name, "exec")
    elif language == "json":
        text = snippet.text.strip()
        for document in [text] if text.startswith("[") else text.splitlines():
            json.loads(document)
    elif language == "toml":
        tomllib.loads(snippet.text)
    elif language == "yaml":
        assert isinstance(parse_yaml(snippet.text, where=snippet.name).value, dict)
    elif language == "markdown" and snippet.page.name == "prompt-file.md":
        assert read_prompt_file(snippet.text, snippet.name).digest
    else:
        assert language in ("", "markdown", "bash"), f"{snippet.name}: mark the block's language as one that is checked"


RUNNABLE = [snippet for snippet in SNIPPETS if snippet.runnable and not snippet.needs_product]


@pytest.mark.parametrize("snippet", RUNNABLE, ids=lambda snippet: snippet.name)
def test_snippets_that_need_no_installation_run(snippet: Any) -> None:
    exec(compile(snippet.text, snippet.name, "exec"), {"__name__": "snippet"})


def test_there_are_snippets_of_both_kinds() -> None:
    assert len(RUNNABLE) >= 3
    assert sum(snippet.runnable and snippet.needs_product for snippet in SNIPPETS) >= 3


def test_a_broken_link_and_a_missing_heading_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docs, "ROOT", tmp_path)
    (tmp_path / "other.md").write_text("# A `thing`, here\n")
    page = tmp_path / "page.md"
    page.write_text(
        "[a](other.md#a-thing-here) [b](gone.md) [c](other.md#gone) [d](https://x.test)\n```\n[e](gone)\n```\n"
    )
    assert docs.broken_links(page) == ["page.md: gone.md does not exist", "page.md: other.md#gone has no such heading"]


def test_the_documented_declaration_is_one_that_composes() -> None:
    from tetrad.releases._declaration import parse_declaration

    page = docs.DOCS / "reference/tetrad-yaml.md"
    text = next(snippet.text for snippet in docs.snippets(page) if snippet.info == "yaml")
    example = (docs.ROOT / "examples/assistant/tetrad.yaml").read_bytes()
    assert parse_declaration(text.encode()).app == parse_declaration(example).app == "assistant"


def test_the_reference_of_settings_and_commands_is_up_to_date() -> None:
    for name, make in docs.GENERATED.items():
        assert (docs.DOCS / name).read_text("utf-8") == make(), f"docs/{name}: run `make docs`"
