"""Prompts from and to the files of other tools; what a format cannot say is reported, not lost in silence."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Final

from tetrad.prompts._formats import _dotprompt, _langfuse, _promptfoo, _prompty
from tetrad.prompts._formats._values import FORMATS, Exported, Format, Imported, bad_file
from tetrad.prompts._limits import MAX_FILE_BYTES
from tetrad.prompts._model import PromptSpec
from tetrad.prompts.errors import PromptError, past_limit

__all__ = ["FORMATS", "Exported", "Format", "Imported", "export_prompt", "format_of", "import_prompt"]

_READERS: Final = {
    "prompty": _prompty.read,
    "dotprompt": _dotprompt.read,
    "langfuse": _langfuse.read,
    "promptfoo": _promptfoo.read,
}
_WRITERS: Final = {
    "prompty": _prompty.write,
    "dotprompt": _dotprompt.write,
    "langfuse": _langfuse.write,
    "promptfoo": _promptfoo.write,
}


def format_of(path: str, text: str) -> Format:
    """Guess the format by the file's name and, for JSON, by its shape; raises `PromptError` where nothing fits."""
    suffix = PurePosixPath(path.replace("\\", "/")).suffix.lower()
    if suffix in (".prompty", ".prompt"):
        return "prompty" if suffix == ".prompty" else "dotprompt"
    if suffix == ".json":
        return "langfuse" if _langfuse.looks_like(text) else "promptfoo"
    if suffix in (".txt", ".yaml", ".yml"):
        return "promptfoo"
    raise PromptError(f"{path}: the format is not told by the name", hint=f"say it: {', '.join(FORMATS)}")


def import_prompt(text: str, format: Format, path: str) -> Imported:  # noqa: A002 - the word people use
    """Read another tool's prompt file; raises `PromptError` beginning with `path:line`.

    What it says and we do not read stays in `metadata` under the format's name, so that an export writes it again;
    `dropped` lists what could not even be kept.
    """
    if len(text) > MAX_FILE_BYTES:
        raise past_limit(f"{path} has more than {MAX_FILE_BYTES:,} characters", hint="a prompt file is text for people")
    try:
        return _READERS[format](text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n"), path)
    except PromptError as error:
        raise bad_file(error, path) from None
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        # What strangers' files hold in the place of a mapping or a list has no end; none of it may pass for a prompt.
        raise PromptError(
            f"{path}:1: not shaped as a {format} file: {type(error).__name__}: {error}"[:300], hint="correct the file"
        ) from None


def export_prompt(spec: PromptSpec, format: Format) -> Exported:  # noqa: A002 - as above
    """Write a prompt as another tool's file; `dropped` lists what the format cannot say."""
    return _WRITERS[format](spec)
