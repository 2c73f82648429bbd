"""Code: a folder as one digest, with the commit, patch and lock file it came from."""

from tetrad.code._folder import FolderSource, MemorySource, Source, SourceFile
from tetrad.code._git import read_git
from tetrad.code._ignore import IGNORE_FILE, Ignore, parse_ignore
from tetrad.code._model import (
    CODE_SCHEMA,
    TREE_SCHEMA,
    CodeFile,
    CodeSnapshot,
    GitState,
    check_path,
    code_document,
    tree_digest,
)
from tetrad.code._service import Code, CodeLimits, list_code
from tetrad.code._settings import SETTINGS, limits_from
from tetrad.code.errors import BadCode, BadPath, CodeTooLarge, GitFailed

__all__ = [
    "CODE_SCHEMA",
    "IGNORE_FILE",
    "SETTINGS",
    "TREE_SCHEMA",
    "BadCode",
    "BadPath",
    "Code",
    "CodeFile",
    "CodeLimits",
    "CodeSnapshot",
    "CodeTooLarge",
    "FolderSource",
    "GitFailed",
    "GitState",
    "Ignore",
    "MemorySource",
    "Source",
    "SourceFile",
    "check_path",
    "code_document",
    "limits_from",
    "list_code",
    "parse_ignore",
    "read_git",
    "tree_digest",
]
