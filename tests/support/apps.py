"""Small apps as folders, for tests."""

from __future__ import annotations

from pathlib import Path

YAML = """\
app: bot
description: A test app
data:
  - {role: fewshot, name: bot-shots, file: data/shots.jsonl}
model:
  - {name: local/smollm2-135m}
prompt:
  - {name: bot-system, file: prompts/system.md}
sampling: {temperature: 0.5, max_tokens: 20}
"""
FILES = {
    "tetrad.yaml": YAML,
    ".tetradignore": "tetrad.yaml\nprompts/\ndata/\n",
    "bot.py": "print('hello')\n",
    "prompts/system.md": "---\nname: bot-system\nvariables:\n  tone: {default: kind}\n---\n# system\n\nBe {{tone}}.\n",
    "data/shots.jsonl": '{"input": "Hi", "output": "Hello!"}\n',
}


def write_app(folder: Path, **changes: str | None) -> Path:
    """Write the app; `changes` are other files by path with `__` for `/` and `_DOT_` for `.`, None leaves one out."""
    named = {name.replace("__", "/").replace("_DOT_", "."): text for name, text in changes.items()}
    for path, text in {**FILES, **named}.items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        if text is None:
            file.unlink(missing_ok=True)
        else:
            file.write_text(text, "utf-8")
    return folder
