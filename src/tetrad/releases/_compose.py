"""Make everything that a folder's `tetrad.yaml` declares, and the manifest that pins it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from tetrad.code import BadCode, Code, FolderSource, GitState, Source, read_git
from tetrad.datasets import CheckedRows, Datasets, DatasetVersion
from tetrad.kernel import Clock, Principal, digest_json, parse_json
from tetrad.models import Models, ModelVersion
from tetrad.prompts import Reference, first_allowed, parse_reference
from tetrad.releases._declaration import FILE, DataPart, Declaration, parse_declaration
from tetrad.releases._lock import refuse_drift
from tetrad.releases._manifest import Adapters, manifest_of, notes_on
from tetrad.releases._model import MAX_EXAMPLES, examples_of
from tetrad.releases._parts import check_adapter
from tetrad.releases._resolve import Resolver
from tetrad.releases.errors import BadDeclaration, BadPart, DeclarationError
from tetrad.releases.ports import Prompts, PromptVersion

MAX_DECLARATION_BYTES = 256 * 1024
MAX_PROMPT_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class ReleaseLimits:
    """What is refused as too much."""

    max_data_bytes: int = 256 << 20
    max_upload_bytes: int = 11 << 20
    max_upload_files: int = 5_000


class Made(msgspec.Struct, frozen=True):
    """The manifest that a declaration made, of parts that are all kept; `notes` are for the author."""

    app: str
    description: str
    manifest: Mapping[str, Any]
    notes: tuple[str, ...]


class Composer:
    """Turns declarations into manifests. Safe to use from many threads."""

    def __init__(
        self,
        resolver: Resolver,
        code: Code,
        datasets: Datasets,
        models: Models,
        prompts: Prompts,
        clock: Clock,
        limits: ReleaseLimits,
    ) -> None:
        self._resolver = resolver
        self._code = code
        self._datasets = datasets
        self._models = models
        self._prompts = prompts
        self._clock = clock
        self._limits = limits

    def git_of(self, source: FolderSource) -> GitState | None:
        """Return the commit and the changes of the code that a folder of this machine declares, where it is in Git."""
        declaration = _declaration(source)
        below = source.below(declaration.code.path)
        files, ignore = self._code.list_files(below)
        return read_git(below.root, [file.path for file in files], ignore)

    def make(
        self,
        project: str,
        source: Source,
        *,
        actor: Principal,
        git: GitState | None = None,
        words: Mapping[str, str],
        locked: Mapping[str, Any] | None = None,
    ) -> Made:
        """Keep the parts that `tetrad.yaml` at the root of `source` declares, each as it stands there or as a version.

        Everything is checked before anything is kept; `words` are the reason and the expected outcome of new versions.
        """
        declaration = _declaration(source)
        models = [
            (part.role, self._models.version(project, part.name, part.version or None)) for part in declaration.model
        ]
        adapters = self._adapters(project, declaration, models)
        files = self._files(source, declaration)
        rows = self._check(project, declaration, files, words)
        if locked is not None:
            planned = self._planned(project, source, declaration, files, rows, models, git, adapters, words)
            refuse_drift(locked, planned)
        code = self._code.snapshot(
            project,
            source.below(declaration.code.path),
            actor=actor,
            git=git,
            lock=declaration.code.lock,
            runtime=declaration.code.runtime,
        )
        prompts = [
            (
                part.role,
                self._prompts.put(project, part.name, files[part.file], actor=actor, where=part.file, **words)
                if part.file
                else self._prompts.version(project, part.name, part.version or None),
            )
            for part in declaration.prompt
        ]
        data = [
            (
                part.role,
                self._datasets.keep(project, part.name, rows[part], actor=actor, **words)
                if part.file
                else self._datasets.version(project, part.name, part.version or None),
            )
            for part in declaration.data
        ]
        data += self._prompt_examples(project, [prompt for _, prompt in prompts], data)
        for role, version in data:
            if role == "fewshot":
                self._resolver.examples(version)
        manifest = manifest_of(declaration, code, data, models, prompts, adapters)
        return Made(declaration.app, declaration.description, manifest, notes_on(declaration, code, models))

    def _adapters(self, project: str, declaration: Declaration, models: Iterable[tuple[str, ModelVersion]]) -> Adapters:
        found: Adapters = {}
        for part, (_, model) in zip(declaration.model, models, strict=True):
            loaded = []
            for each in part.adapters:
                adapter = self._models.version(project, each.name, each.version or None)
                check_adapter(model, adapter)
                loaded.append((adapter, each.scale))
            found[part.role, model.name] = loaded
        return found

    def _prompt_examples(
        self, project: str, prompts: Iterable[PromptVersion], data: Iterable[tuple[str, DatasetVersion]]
    ) -> list[tuple[str, DatasetVersion]]:
        """Resolve the examples that prompts name, unless the app declares a few-shot dataset of that name itself."""
        declared = {version.name for role, version in data if role == "fewshot"}
        found: dict[str, DatasetVersion] = {}
        for prompt in (each for top in prompts for each in (top, *(step.prompt for step in top.steps))):
            if not prompt.examples:
                continue
            reference = parse_reference(prompt.examples, what="a dataset")
            if reference.name not in declared:
                found[reference.name] = self._dataset(project, reference)
        return [("fewshot", version) for version in found.values()]

    def _dataset(self, project: str, reference: Reference) -> DatasetVersion:
        if not reference.constraint or reference.is_exact:
            return self._datasets.version(project, reference.name, reference.constraint or None)
        before: int | None = None
        while page := self._datasets.versions(project, reference.name, limit=200, before=before):
            if found := first_allowed(reference, [(each.semver, each.semver) for each in page]):
                return self._datasets.version(project, reference.name, found)
            before = page[-1].seq
        raise BadPart(f"no version of the dataset {reference.name!r} fits {reference.constraint}", hint="import one")

    def _check(
        self, project: str, declaration: Declaration, files: Mapping[str, bytes], words: Mapping[str, str]
    ) -> dict[DataPart, CheckedRows]:
        """Refuse what is wrong with prompts and data before any of them is kept; return the rows that are to be."""
        for part in declaration.prompt:
            if part.file:
                self._prompts.check(project, part.name, files[part.file], where=part.file, **words)
            else:
                self._prompts.version(project, part.name, part.version or None)
        rows: dict[DataPart, CheckedRows] = {}
        for item in declaration.data:
            if not item.file:
                self._datasets.version(project, item.name, item.version or None)
                continue
            rows[item] = self._datasets.read_jsonl(project, files[item.file], key=item.key, where=item.file)
            if item.role == "fewshot":
                examples_of(_lines(files[item.file], item), what=item.file)
        return rows

    def _files(self, source: Source, declaration: Declaration) -> dict[str, bytes]:
        files: dict[str, bytes] = {}
        errors: list[DeclarationError] = []
        wanted = [(part.file, part.line, MAX_PROMPT_BYTES) for part in declaration.prompt]
        wanted += [(part.file, part.line, self._limits.max_data_bytes) for part in declaration.data]
        for path, line, most in wanted:
            if path and path not in files:
                data = source.read(path, max_bytes=most)
                if data is None:
                    errors.append(DeclarationError(line, 1, f"the file {path!r} is not there"))
                else:
                    files[path] = data
        if errors:
            raise BadDeclaration(errors, hint="paths are relative to the folder of tetrad.yaml")
        return files

    def _planned(
        self, project: str, source: Source, declaration: Declaration, files: Mapping[str, bytes],
        rows: Mapping[DataPart, CheckedRows], models: Iterable[tuple[str, ModelVersion]], git: GitState | None,
        adapters: Adapters, words: Mapping[str, str],
    ) -> dict[str, Any]:  # fmt: skip
        """Return the manifest that composing would make, keeping nothing."""
        code = self._code.measure(
            source.below(declaration.code.path), git=git, lock=declaration.code.lock, runtime=declaration.code.runtime
        )
        prompts = [
            (
                part.role,
                self._prompts.check(project, part.name, files[part.file], where=part.file, **words)
                if part.file
                else self._prompts.version(project, part.name, part.version or None),
            )
            for part in declaration.prompt
        ]
        data = [
            (
                part.role,
                self._unkept(project, part.name, rows[part])
                if part.file
                else self._datasets.version(project, part.name, part.version or None),
            )
            for part in declaration.data
        ]
        return manifest_of(declaration, code, data, models, prompts, adapters)

    def _unkept(self, project: str, name: str, rows: CheckedRows) -> DatasetVersion:
        schema = rows.shape.schema()
        return DatasetVersion(
            project, name, 0, "", rows.scratch.digest(), rows.scratch.order(), digest_json(schema), schema,
            rows.scratch.rows, rows.size, "", "", self._clock.now(),
        )  # fmt: skip


def _declaration(source: Source) -> Declaration:
    text = source.read(FILE, max_bytes=MAX_DECLARATION_BYTES)
    if text is None:
        raise BadCode(
            f"there is no {FILE}", hint="write one, or name the folder that has it; it begins with app: my-app"
        )
    return parse_declaration(text)


def _lines(data: bytes, part: DataPart) -> Iterable[tuple[str, Mapping[str, Any]]]:
    count = 0
    for number, line in enumerate(data.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        if line.strip():
            count += 1
            if count > MAX_EXAMPLES:
                raise BadPart(f"{part.file} has more than {MAX_EXAMPLES} rows", hint="keep fewer examples")
            value = parse_json(line, where=f"{part.file}:{number}")
            if isinstance(value, dict):
                yield f"of line {number}", value
