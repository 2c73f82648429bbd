"""Load two releases of a project and say what changed between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from tetrad.datasets import Datasets, DatasetVersion, RowChange
from tetrad.kernel import Digest
from tetrad.models import ModelVersion
from tetrad.prompts import prompt_from_document
from tetrad.registry import TEST_RESULT, Evidence, Judged, Registry, TestResult, read_predicate
from tetrad.releases._diff import (
    DataDiff,
    Floor,
    ModelDiff,
    PartSide,
    PromptDiff,
    ReleaseDiff,
    ReleaseSide,
    RowDiff,
    SuiteSide,
    changes,
    cut,
    diff_code,
    diff_config,
    diff_facts,
    diff_models,
    diff_rows,
    diff_sampling,
    diff_suites,
    judge_version,
    pair_parts,
    with_documents,
)
from tetrad.releases._prompts import version_floor
from tetrad.releases.ports import PromptVersion

if TYPE_CHECKING:
    from tetrad.releases._kept import ReleaseParts
    from tetrad.releases._service import Releases

SHOWN_ROWS = 20
SHOWN_FILES = 200
ALIGNED_ROWS = 2_000
MAX_SUITES = 200
RESULTS_PAGE = 200


class Comparisons:
    """Differences between releases of one project. Safe to use from many threads."""

    def __init__(
        self, releases: Releases, registry: Registry, datasets: Datasets, evidence: Evidence | None = None
    ) -> None:
        self._releases = releases
        self._registry = registry
        self._datasets = datasets
        self._evidence = evidence

    def diff(
        self, project: str, old: str, new: str, *, rows: int = SHOWN_ROWS, files: int = SHOWN_FILES
    ) -> ReleaseDiff:
        """Say what changed from one release to another, by digest: prompts message by message, data row by row.

        At most `rows` rows of each dataset and `files` files are told one by one; the counts are of all.
        """
        before, after = (self._releases.parts(project, digest, rows=0) for digest in (old, new))
        return self.diff_parts(before, after, rows=rows, files=files)

    def diff_parts(
        self,
        before: ReleaseParts,
        after: ReleaseParts,
        *,
        documents: Mapping[str, Mapping[str, Any]] | None = None,
        rows: int = SHOWN_ROWS,
        files: int = SHOWN_FILES,
    ) -> ReleaseDiff:
        """Say the same of releases that are loaded; `documents` are those of prompts that are not kept, by digest."""
        project = before.release.project
        was, now = before.release.manifest, after.release.manifest
        return ReleaseDiff(
            old=_side(before),
            new=_side(after),
            code=diff_code(before.code, after.code, limit=files),
            data=self._data(before, after, rows),
            model=_models(before, after),
            prompt=self._prompts(project, before.prompts, after.prompts, documents or {}),
            sampling=diff_sampling(was, now),
            config=diff_config(was, now),
            evaluations=diff_suites(*(self._results(project, each.release.digest) for each in (before, after))),
        )

    def _results(self, project: str, digest: Digest) -> dict[str, SuiteSide]:
        """Return the newest result of each suite on a release, of those that count: signed, trusted, not revoked."""
        found: dict[str, SuiteSide] = {}
        before: str | None = None
        while self._evidence is not None and len(found) < MAX_SUITES:
            page = self._evidence.find(
                project, subject=digest, predicate_type=TEST_RESULT, limit=RESULTS_PAGE, before=before
            )
            for each in page:
                # The subjects are the statement's: the index finds, it proves nothing.
                about = each.statement is not None and any(subject == digest for _, subject in each.statement.subjects)
                side = _suite_side(each, self._releases.now()) if about and each.counts else None
                if side is not None and len(found) < MAX_SUITES:
                    found.setdefault(*side)
            if len(page) < RESULTS_PAGE:
                break
            before = page[-1].row.seq
        return found

    def _prompts(
        self, project: str, old: Sequence[tuple[str, PromptVersion]], new: Sequence[tuple[str, PromptVersion]],
        documents: Mapping[str, Mapping[str, Any]],
    ) -> tuple[PromptDiff, ...]:  # fmt: skip
        found = []
        for before, after in pair_parts(old, new, lambda part: part[0], lambda part: part[1].name):
            role = (after or before or ("", None))[0]
            was, now = before[1] if before else None, after[1] if after else None
            if was and now and (was.digest, was.name) == (now.digest, now.name):
                continue
            left, right = self._prompt_side(project, was), self._prompt_side(project, now)
            old_document, new_document = (
                documents.get(each.digest) or self._registry.document(project, each.digest) if each else {}
                for each in (was, now)
            )
            if was is None or now is None:
                diff = PromptDiff(role, "added" if was is None else "removed", left, right)
            else:
                floor: Floor = "none"
                if was.digest != now.digest:
                    floor = version_floor(
                        prompt_from_document(was.name, old_document), prompt_from_document(now.name, new_document)
                    )
                verdict = judge_version(floor, was.version, now.version) if was.name == now.name else "unknown"
                diff = PromptDiff(role, "changed", left, right, was.contract != now.contract, floor, verdict)
            found.append(with_documents(diff, old_document, new_document))
        return tuple(found)

    def _prompt_side(self, project: str, prompt: PromptVersion | None) -> PartSide | None:
        if prompt is None:
            return None
        named = [
            version
            for version in self._registry.versions_of(project, prompt.digest)
            if (version.kind, version.name, version.semver) == ("prompt", prompt.name, prompt.version)
        ]
        expected = named[0].expected_outcome if named else ""
        return PartSide(prompt.name, prompt.digest, prompt.version, contract=prompt.contract, expected_outcome=expected)

    def _data(self, before: ReleaseParts, after: ReleaseParts, limit: int) -> tuple[DataDiff, ...]:
        old = [(role, version) for role, version, _ in before.data]
        new = [(role, version) for role, version, _ in after.data]
        found = []
        for left, right in pair_parts(old, new, lambda part: part[0], lambda part: part[1].name):
            role = (right or left or ("", None))[0]
            was, now = left[1] if left else None, right[1] if right else None
            if was and now and (was.digest, was.order, was.name) == (now.digest, now.order, now.name):
                continue
            found.append(self._dataset(role, was, now, limit))
        return tuple(found)

    def _dataset(self, role: str, old: DatasetVersion | None, new: DatasetVersion | None, limit: int) -> DataDiff:
        sides = {
            "old": _data_side(old),
            "new": _data_side(new),
            "old_rows": old.rows if old else 0,
            "new_rows": new.rows if new else 0,
        }
        if old is None or new is None:
            there = new or old
            kind = "added" if old is None else "removed"
            rows = self._datasets.rows(there, limit=limit) if there and limit else []
            shown = tuple(RowDiff(row.key, kind, content=cut(dict(row.value))) for row in rows)  # type: ignore[arg-type]
            counts = {kind: there.rows if there else 0}
            return DataDiff(role, kind, rows=shown, more=sum(counts.values()) > len(shown), **counts, **sides)  # type: ignore[arg-type]
        if max(old.rows, new.rows) <= ALIGNED_ROWS:
            told = diff_rows(list(self._datasets.all_rows(old)), list(self._datasets.all_rows(new)))
            counts = {kind: sum(row.change == kind for row in told) for kind in _KINDS}
            return DataDiff(role, "changed", rows=told[:limit], more=len(told) > limit, **counts, **sides)  # type: ignore[arg-type]
        if old.name != new.name:
            return DataDiff(role, "changed", compared=False, **sides)  # type: ignore[arg-type]
        page = self._datasets.diff(old.project, old.name, old.semver, new.semver, limit=max(limit, 1))
        return DataDiff(
            role, "changed", added=page.added, removed=page.removed, changed=page.changed, moved=page.moved,
            rows=tuple(_row(each) for each in page.items[:limit]),
            more=page.added + page.removed + page.changed + page.moved > limit,
            **sides,  # type: ignore[arg-type]
        )  # fmt: skip


_KINDS = ("added", "removed", "changed", "moved")


def _row(row: RowChange) -> RowDiff:
    if row.change == "changed":
        return RowDiff(row.key, row.change, changes(row.old, row.new))
    there = row.new if row.change == "added" else row.old
    return RowDiff(row.key, row.change, content=None if there is None or row.change == "moved" else cut(dict(there)))


def _models(old: ReleaseParts, new: ReleaseParts) -> tuple[ModelDiff, ...]:
    found = []
    for before, after in pair_parts(old.models, new.models, lambda part: part[0], lambda part: part[1].name):
        role = (after or before or ("", None))[0]
        was, now = before[1] if before else None, after[1] if after else None
        asked = diff_facts(_engine(old, role, was), _engine(new, role, now)) if was and now else ()
        if was and now and (was.digest, was.name) == (now.digest, now.name) and not asked:
            continue
        left, right = _model_side(was), _model_side(now)
        if was is None or now is None:
            found.append(ModelDiff(role, "added" if was is None else "removed", left, right))
        else:
            found.append(ModelDiff(role, "changed", left, right, (*diff_models(was, now), *asked)))
    return tuple(found)


def _suite_side(judged: Judged, now: datetime) -> tuple[str, SuiteSide] | None:
    assert judged.statement is not None  # noqa: S101 - what counts was read
    read = read_predicate(TEST_RESULT, judged.statement.predicate)
    if not isinstance(read, TestResult) or judged.key is None:
        return None
    row = judged.row
    return read.suite.name, SuiteSide(
        read.result, read.suite.cases, dict(read.suite.metrics), judged.key.name, judged.key.id, row.received_at,
        row.digest, read.suite.digest, row.expires_at, row.expires_at is not None and now >= row.expires_at,
    )  # fmt: skip


def _engine(parts: ReleaseParts, role: str, version: ModelVersion | None) -> dict[str, Any]:
    """Return what a release asks of the engine of a model."""
    models = parts.release.manifest["model"]
    name = version.name if version else ""
    asked = next((part.get("engine") for part in models if (part["role"], part["name"]) == (role, name)), None)
    return {"engine": asked} if asked else {}


def _side(parts: ReleaseParts) -> ReleaseSide:
    release = parts.release
    version = release.version
    return ReleaseSide(
        release.digest, release.app, version.seq, version.created_at, version.author_name or version.author,
        version.reason, parts.code.dirty, version.expected_outcome,
    )  # fmt: skip


def _data_side(version: DatasetVersion | None) -> PartSide | None:
    return (
        PartSide(
            version.name, version.digest, version.semver, order=version.order,
            expected_outcome=version.expected_outcome,
        )
        if version
        else None
    )  # fmt: skip


def _model_side(version: ModelVersion | None) -> PartSide | None:
    return (
        PartSide(version.name, Digest(version.digest), version.semver, expected_outcome=version.expected_outcome)
        if version
        else None
    )
