"""Import rows, name their versions, read them back, tell versions apart."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from typing import Any, BinaryIO, Final, Literal

import msgspec

from tetrad.datasets._checked import CheckedRows, DatasetLimits, check_all, key_fits, read_checked
from tetrad.datasets._formats import CsvForm
from tetrad.datasets._model import (
    ROLES,
    DatasetDiff,
    DatasetVersion,
    Row,
    RowChange,
    Shape,
    diff_values,
    merge_schemas,
    order_digest,
    sorted_dataset_digest,
)
from tetrad.datasets._schema import check_schema
from tetrad.datasets._scratch import Seen, batches
from tetrad.datasets._steps import apply_steps, check_steps
from tetrad.datasets.errors import (
    BadRows,
    BadSource,
    BaseMoved,
    DatasetNotFound,
    DatasetTooLarge,
    NotRebuildable,
    PushConflict,
    RowError,
    RowUnreadable,
)
from tetrad.datasets.ports import ColumnValue, DatasetStore, Member, Push, StoredVersion
from tetrad.kernel import Clock, Digest, InvalidInput, Principal, canonical_json, digest_json, parse_digest, parse_json
from tetrad.registry import (
    Activity,
    ArtifactNotFound,
    Edge,
    Registry,
    SemVer,
    Version,
    VersionNotFound,
    check_simple_name,
)

KIND = "dataset"
MEDIA_TYPE = "application/vnd.tetrad.dataset"
SCHEMA_KIND = "dataset-schema"
PUSH_KIND = "dataset-push"
MAX_DIFF_PAGE = 1000
MAX_SEARCHED: Final = 20_000  # rows that one page of a search reads
LEASE: Final = timedelta(minutes=10)
_ATTEMPTS = 8
_STREAM = 1000
_COUNTS_KEPT = 256

ChangeKind = Literal["added", "removed", "changed", "moved"]


class PushedRow(msgspec.Struct, frozen=True):
    """A row that is pushed. Without a key it is named as the dataset's other rows are."""

    value: Mapping[str, Any]
    key: str | None = None


class Rebuilt(msgspec.Struct, frozen=True):
    """What `rebuild` proved: the digests of the version, and of what was made again in the same way."""

    name: str
    semver: str
    how: str
    digest: Digest
    order: Digest
    rebuilt_digest: Digest
    rebuilt_order: Digest
    rebuilt_schema: Digest
    schema_digest: Digest

    @property
    def verified(self) -> bool:
        """Tell whether the same rows came out, in the same order and of the same shape."""
        return (self.digest, self.order, self.schema_digest) == (
            self.rebuilt_digest, self.rebuilt_order, self.rebuilt_schema,
        )  # fmt: skip


class Recount(msgspec.Struct, frozen=True):
    """A version counted again from its stored rows; `missing` and `damaged` name the first of such rows by key."""

    digest: Digest
    order: Digest
    schema_digest: Digest
    rows: int
    bytes: int
    missing: tuple[str, ...] = ()
    damaged: tuple[str, ...] = ()


class Datasets:
    """The datasets of all projects. A version is immutable; its digest does not depend on where rows are stored."""

    def __init__(
        self, store: DatasetStore, registry: Registry, clock: Clock, *, limits: DatasetLimits | None = None
    ) -> None:
        self._store = store
        self._registry = registry
        self._clock = clock
        self._limits = limits or DatasetLimits()
        self._counts: dict[tuple[str, int, int], dict[ChangeKind, int]] = {}

    # -- writing ------------------------------------------------------------------------------------------------

    def import_jsonl(
        self,
        project: str,
        name: str,
        data: bytes | BinaryIO,
        *,
        actor: Principal,
        key: str | None = None,
        semver: str | None = None,
        reason: str = "",
        expected_outcome: str = "",
        where: str = "the import",
    ) -> DatasetVersion:
        """Make one version of a JSON Lines file, or refuse with `BadRows` and import nothing; see `import_file`."""
        return self.import_file(
            project, name, data, form="jsonl", actor=actor, key=key, semver=semver, reason=reason,
            expected_outcome=expected_outcome, where=where,
        )  # fmt: skip

    def import_file(
        self,
        project: str,
        name: str,
        data: bytes | BinaryIO,
        *,
        form: str,
        actor: Principal,
        key: str | None = None,
        csv: CsvForm | None = None,
        schema: Mapping[str, Any] | None = None,
        role: str = "",
        provenance: Mapping[str, Any] | None = None,
        semver: str | None = None,
        reason: str = "",
        expected_outcome: str = "",
        where: str = "the import",
    ) -> DatasetVersion:
        """Make one version of a file (`jsonl`, `json`, `csv`, `parquet`), or refuse with `BadRows` and import nothing.

        Blank lines are skipped. All rows are checked before the first is kept: the errors name line, field and reason,
        up to a limit. `key` names the field that names rows (a text or whole number, unique); without it a row is named
        by its content, and an edited row is a removed and an added one. `schema` is what rows must fulfil, now and when
        rows are pushed. `provenance` (see `read_source`) is kept in the lineage. Memory does not grow with the file.
        """
        _check_role(role)
        check_simple_name(name, "name of a dataset")
        if schema is not None:
            check_schema(schema)
        rows = read_checked(
            self._limits, data, self._sees(project), form=form, key=key, where=where, schema=schema, options=csv
        )
        words = {"semver": semver, "reason": reason, "expected_outcome": expected_outcome}
        declared = self._declare(project, schema, actor)
        params = {"csv": _told(csv), "provenance": dict(provenance or {})}
        return self._keep_import(project, name, rows, actor, words, params, role=role, declared=declared)

    def read_jsonl(
        self, project: str, data: bytes | BinaryIO, *, key: str | None = None, where: str = "the import"
    ) -> CheckedRows:
        """Check all lines of a JSON Lines file and return its rows, for `keep`; nothing is kept yet."""
        return read_checked(self._limits, data, self._sees(project), form="jsonl", key=key, where=where)

    def put(
        self,
        project: str,
        name: str,
        rows: Iterable[Mapping[str, Any]],
        *,
        actor: Principal,
        key: str | None = None,
        semver: str | None = None,
        reason: str = "",
        expected_outcome: str = "",
        where: str = "the rows",
    ) -> DatasetVersion:
        """Make one version of rows, in their order, or refuse with `BadRows` (lines count rows) and keep nothing."""
        found = CheckedRows(self._limits, key, where, self._sees(project))
        check_all(found, ((number, value, None) for number, value in enumerate(rows, 1)))
        return self.keep(
            project, name, found, actor=actor, semver=semver, reason=reason, expected_outcome=expected_outcome
        )

    def keep(
        self, project: str, name: str, rows: CheckedRows, *, actor: Principal, semver: str | None = None,
        reason: str = "", expected_outcome: str = "",
    ) -> DatasetVersion:  # fmt: skip
        """Make one version of rows that were checked; the same rows again are the version that is there."""
        words = {"semver": semver, "reason": reason, "expected_outcome": expected_outcome}
        return self._keep_import(project, name, rows, actor, words, {}, role="", declared="")

    def _keep_import(
        self, project: str, name: str, rows: CheckedRows, actor: Principal, words: Mapping[str, Any],
        told: Mapping[str, Any], *, role: str, declared: str,
    ) -> DatasetVersion:  # fmt: skip
        params: dict[str, Any] = {"format": rows.form, "key": rows.key}
        if rows.source is not None:
            params["source"] = rows.source
        params |= {word: value for word, value in told.items() if value}
        return self._keep(
            project, name, rows, actor, "import", params, (), schema=rows.shape.schema(), key=rows.key, role=role,
            declared=declared, words=words,
        )  # fmt: skip

    def derive(
        self,
        project: str,
        source: DatasetVersion,
        name: str,
        steps: Sequence[Mapping[str, Any]],
        *,
        actor: Principal,
        role: str = "",
        semver: str | None = None,
        reason: str = "",
        expected_outcome: str = "",
    ) -> DatasetVersion:
        """Make one version of what steps (filter, split, dedupe, map) make of another; rows keep their keys.

        The steps stand in the lineage, so that `rebuild` can make the same version again and prove it.
        """
        _check_role(role)
        check_simple_name(name, "name of a dataset")
        checked = check_steps(list(steps))
        rows = self._derived(project, source, checked)
        kind = str(checked[0]["op"]) if len(checked) == 1 else "curate"
        whence = {"name": source.name, "semver": source.semver, "digest": source.digest, "order": source.order}
        words = {"semver": semver, "reason": reason, "expected_outcome": expected_outcome}
        return self._keep(
            project, name, rows, actor, kind, {"steps": checked, "from": whence},
            (Edge(source.digest, "in", "source", "rebuild"),), schema=rows.shape.schema(),
            key=self._key_field(source), role=role, declared="", words=words,
        )  # fmt: skip

    def derive_again(
        self,
        project: str,
        name: str,
        source: DatasetVersion,
        *,
        actor: Principal,
        reason: str = "",
        expected_outcome: str = "",
    ) -> tuple[DatasetVersion, bool]:
        """Do the steps that made the newest version of a dataset again, upon another version of what it was made of.

        Returns the newest version and whether it is new. Where the same rows come out that the newest version has, that
        one stays, and the lineage says that it is made of `source` as well. Doing it again changes nothing. Raises
        `NotRebuildable` where no steps made the newest version.
        """
        newest = self.version(project, name)
        maker = self._maker(project, newest)
        steps, whence = maker.params.get("steps"), maker.params.get("from", {})
        if not steps or whence.get("name") != source.name:
            raise NotRebuildable(
                f"no steps have made {name}@{newest.semver} of the dataset {source.name!r}",
                hint="derive it anew: `tetrad dataset filter`, `split`, `map` or `dedupe`",
            )
        if (whence.get("digest"), whence.get("order")) == (source.digest, source.order):
            return newest, False
        made = self.derive(
            project, source, name, steps, actor=actor, role=newest.role, reason=reason,
            expected_outcome=expected_outcome,
        )  # fmt: skip
        if not self._is_made_of(project, made, source):
            whence = {"name": source.name, "semver": source.semver, "digest": source.digest, "order": source.order}
            params = {"steps": steps, "from": whence, "name": name, "semver": made.semver, "order": made.order}
            edges = [Edge(source.digest, "in", "source", "rebuild"), Edge(made.digest, "out", "dataset")]
            self._registry.record(project, maker.kind, edges, actor=actor, params=params)
        head = self.version(project, name)
        if (head.digest, head.order) == (made.digest, made.order):
            return head, head.semver != newest.semver
        # The rows are those of an older version: it becomes the newest again, under a number of its own.
        older = self._registry.version(project, KIND, name, made.semver)
        self._registry.add_version(
            project, KIND, name, older.digest, actor=actor, meta=older.meta, reason=reason,
            semver=str(SemVer.parse(head.semver).bump("minor")), expected_outcome=expected_outcome,
        )  # fmt: skip
        return self.version(project, name), True

    def _is_made_of(self, project: str, made: DatasetVersion, source: DatasetVersion) -> bool:
        whence = {"name": source.name, "digest": source.digest, "order": source.order}
        return self._comes_from(project, made.name, made.digest, made.order, whence)

    def _comes_from(self, project: str, name: str, digest: str, order: str, whence: Mapping[str, Any]) -> bool:
        """Tell whether the lineage of rows under a name says already that they were made of `whence`."""
        return any(
            each.params.get("name") == name
            and each.params.get("order") == order
            and isinstance(each.params.get("from"), dict)
            and whence.items() <= each.params["from"].items()
            for each in self._makers(project, digest)
        )

    def push(
        self,
        project: str,
        name: str,
        rows: Sequence[PushedRow],
        *,
        actor: Principal,
        idempotency_key: str,
        remove: Sequence[str] = (),
        reason: str = "",
    ) -> DatasetVersion:
        """Append rows to the newest version, or put them in the places of those with their keys, as a new version.

        The dataset is made where there is none. The same idempotency key with the same rows is the version that they
        made; with other rows it is a `PushConflict`. Pushes that meet are done one after the other, none is lost.
        """
        check_simple_name(name, "name of a dataset")
        if not 0 < len(idempotency_key) <= 128 or not idempotency_key.isprintable():
            raise InvalidInput("an idempotency key has 1 to 128 characters", hint="a UUID does")
        if not rows and not remove:
            raise InvalidInput("nothing is pushed", hint="send rows, or keys to remove")
        if len(rows) + len(remove) > self._limits.max_push_rows:
            raise DatasetTooLarge(
                f"{len(rows) + len(remove)} rows at once", hint=f"push at most {self._limits.max_push_rows}, or import"
            )
        batch = _batch(rows, remove)
        request = digest_json(batch)
        known = self._store.push(project, name, idempotency_key)
        if known is not None:
            return self._pushed(project, name, known, request, idempotency_key)
        self._registry.put_document(project, PUSH_KIND, batch, actor=actor)
        for _ in range(_ATTEMPTS):
            with suppress(BaseMoved):
                version = self._push_once(project, name, rows, remove, request, actor, reason)
                noted = self._store.note_push(
                    project, name, idempotency_key, Push(request, version.semver), at=self._clock.now()
                )
                return self._pushed(project, name, noted, request, idempotency_key)
        raise BaseMoved(f"other versions of {name!r} came in between {_ATTEMPTS} times", hint="push again")

    def _pushed(self, project: str, name: str, push: Push, request: Digest, key: str) -> DatasetVersion:
        if push.request != request:
            raise PushConflict(f"the idempotency key {key!r} stands for other rows", hint="use a new key")
        return self.version(project, name, push.semver)

    def _push_once(
        self, project: str, name: str, pushed: Sequence[PushedRow], remove: Sequence[str], request: Digest,
        actor: Principal, reason: str,
    ) -> DatasetVersion:  # fmt: skip
        base = self._store.newest(project, name)
        newest = self._newest(project, name)
        meta = newest.meta if newest else {}
        declared = meta.get("declared", "")
        schema = self._registry.document(project, declared) if declared else None
        rows = CheckedRows(self._limits, meta.get("key"), "the pushed rows", self._sees(project), schema=schema)
        appended = self._upsert(rows, base, pushed, remove)
        merged = merge_schemas(base.schema, rows.shape.schema()) if base and appended else None
        if base is None:
            merged = rows.shape.schema()
        elif merged is not None:
            rows.size += base.size
        else:
            merged = self._measure(project, rows)
        params: dict[str, Any] = {"request": request, "key": rows.key}
        edges = [Edge(request, "in", "rows", "rebuild")]
        if base is not None:
            params["from"] = {"name": name, "digest": base.digest, "order": base.order}
            if newest is not None and newest.digest == base.digest:
                edges.append(Edge(base.digest, "in", "source", "rebuild"))
        return self._keep(
            project, name, rows, actor, "push", params, edges, schema=merged, key=rows.key, role=meta.get("role", ""),
            declared=declared, words={"reason": reason}, base=base.seq if base else 0,
        )  # fmt: skip

    def _upsert(
        self, rows: CheckedRows, base: StoredVersion | None, pushed: Sequence[PushedRow], remove: Sequence[str]
    ) -> bool:
        """Put a batch upon the version before; tell whether it only appended."""
        if base is not None:
            for member in self._members(base):
                rows.keep_member(member)
        appended = rows.remove(remove) == 0
        for number, row in enumerate(pushed, 1):
            appended = rows.upsert(number, row.value, row.key) and appended
        rows.finish()
        return appended

    def _measure(self, project: str, rows: CheckedRows) -> dict[str, Any]:
        """Read all rows for their shape and size."""
        shape, size = Shape(), 0
        for part in batches(rows.scratch.brought(), _STREAM):
            stored = self._store.contents(project, [digest for digest, content in part if content is None])
            for digest, content in part:
                data = content if content is not None else stored[digest]
                size += len(data)
                shape.add(_value(data))
        rows.size = size
        return shape.schema()

    def _keep(
        self, project: str, name: str, rows: CheckedRows, actor: Principal, kind: str, params: Mapping[str, Any],
        edges: Sequence[Edge], *, schema: Mapping[str, Any], key: str | None, role: str, declared: str,
        words: Mapping[str, Any], base: int | None = None,
    ) -> DatasetVersion:  # fmt: skip
        check_simple_name(name, "name of a dataset")
        digest, order = rows.scratch.digest(), rows.scratch.order()
        schema_digest = digest_json(schema)
        extra = {"key": key, "role": role, "declared": declared}
        facts = {"order": order, "rows": rows.scratch.rows, "schema": schema_digest, "size": rows.size}
        facts |= {word: value for word, value in extra.items() if value}
        self._registry.touch(project, digest)  # whose rows may be there already: no collection takes them meanwhile
        with self._importing(project, name) as (import_id, beat):
            if self._store.version(project, name, digest, order) is None:
                self._store.put_rows(project, rows.scratch.contents(), beat)
            stored, new = self._store.publish(
                project, name, rows.scratch, import_id=import_id, base=base, digest=digest, order=order, schema=schema,
                schema_digest=schema_digest, size=rows.size, at=self._clock.now(),
            )  # fmt: skip
        rows.close()
        self._registry.put_identity(
            project, KIND, digest, size=rows.size, actor=actor, media_type=MEDIA_TYPE,
            parts=[(media, "media") for media in sorted(rows.media)],
        )  # fmt: skip
        version = self._registry.add_version(
            project, KIND, name, digest, actor=actor, meta=facts,
            semver=words.get("semver"), reason=words.get("reason", ""),
            expected_outcome=words.get("expected_outcome", ""),
        )  # fmt: skip
        told = params.get("from")
        if (
            new
            or not self._makers(project, digest)
            or (told and not self._comes_from(project, name, digest, order, told))
        ):
            self._registry.record(
                project, kind, [*edges, Edge(digest, "out", "dataset")], actor=actor,
                params={**params, "name": name, "semver": version.semver, "order": order},
            )  # fmt: skip
        return _joined(version, stored)

    @contextmanager
    def _importing(self, project: str, name: str) -> Iterator[tuple[str, Callable[[], None]]]:
        """Hold the project's rows while an import runs; what one that fails has put there is swept."""
        self._sweep(project, dead_before=self._clock.now() - LEASE)
        import_id = self._store.begin(project, name, at=self._clock.now())
        try:
            yield import_id, lambda: self._store.beat(import_id, at=self._clock.now())
        except BaseException:
            self._store.abandon(import_id)
            self._sweep(project, dead_before=self._clock.now() - LEASE)
            raise

    def sweep(self) -> int:
        """Delete what imports left that were killed; return how many rows. Done at every start, and before imports."""
        before = self._clock.now() - LEASE
        return sum(self._sweep(project, dead_before=before) for project in self._store.unfinished(dead_before=before))

    def _sweep(self, project: str, *, dead_before: datetime) -> int:
        if project not in self._store.unfinished(dead_before=dead_before):
            return 0
        return self._store.sweep(project, dead_before=dead_before)

    def roots(self, project: str) -> list[Digest]:
        """Return the batches that were pushed: a version that they made can be made again from them."""
        return self._store.pushed(project)

    def forget(self, project: str, digests: Sequence[Digest], transaction: Any) -> None:
        """Let versions go, in the transaction that leaves tombstones of them; their rows go with `free_rows`."""
        self._store.forget(project, digests, transaction)

    def free_rows(self, project: str) -> int:
        """Delete rows that no version has, and what side columns say of them; none while an import runs."""
        return self._store.sweep(project, dead_before=self._clock.now() - LEASE)

    def _declare(self, project: str, schema: Mapping[str, Any] | None, actor: Principal) -> str:
        if schema is None:
            return ""
        return self._registry.put_document(project, SCHEMA_KIND, dict(check_schema(schema)), actor=actor).digest

    def _sees(self, project: str) -> Callable[[Digest], bool]:
        return lambda digest: self._registry.sees(project, digest)

    # -- making again -------------------------------------------------------------------------------------------

    def rebuild(self, project: str, name: str, semver: str | None = None, *, source: BinaryIO | None = None) -> Rebuilt:
        """Make a version again from what the lineage says it was made of, and compare; nothing is kept.

        Steps and pushes are done again upon the version they were done on. An import needs its `source`: a file with
        the digest that was recorded, else `NotRebuildable` says which.
        """
        version = self.version(project, name, semver)
        maker = self._maker(project, version)
        rows, how = self._remade(project, version, maker, source)
        try:
            schema = digest_json(self._measure(project, rows))
            return Rebuilt(
                version.name, version.semver, how, version.digest, version.order, rows.scratch.digest(),
                rows.scratch.order(), schema, version.schema_digest,
            )  # fmt: skip
        finally:
            rows.close()

    def _maker(self, project: str, version: DatasetVersion) -> Activity:
        made = self._makers(project, version.digest)
        ours = [each for each in made if each.params.get("name") == version.name]
        exact = [each for each in ours if each.params.get("order") == version.order]
        for found in (exact, ours, made):
            if found:
                return found[-1]
        raise NotRebuildable(f"nothing says how {version.name}@{version.semver} was made")

    def _makers(self, project: str, digest: str) -> list[Activity]:
        around = self._registry.makers(project, [digest])
        return [each for each in around if Edge(Digest(digest), "out", "dataset") in each.edges]

    def _remade(
        self, project: str, version: DatasetVersion, maker: Activity, source: BinaryIO | None
    ) -> tuple[CheckedRows, str]:
        params = maker.params
        if "steps" in params:
            whence = params["from"]
            origin = self.by_digest(project, whence["digest"], whence["order"])
            return self._derived(project, origin, params["steps"]), f"{maker.kind} of {origin.name}@{origin.semver}"
        if maker.kind == "push":
            return self._pushed_again(project, params), "push"
        if "source" not in params:
            raise NotRebuildable(
                f"{version.name}@{version.semver} was made of rows that came without a file",
                hint="its rows are checked whenever they are read; import from a file to be able to rebuild",
            )
        if source is None:
            raise NotRebuildable(
                f"{version.name}@{version.semver} was imported from a file that is not kept",
                hint=f"give the file whose digest is {params['source']} (--source FILE)",
            )
        declared = self._registry.document(project, version.declared) if version.declared else None
        rows = read_checked(
            self._limits, source, self._sees(project), form=params["format"], key=params["key"], where="the source",
            schema=declared, options=msgspec.convert(params["csv"], CsvForm) if "csv" in params else None,
        )  # fmt: skip
        if rows.source != params["source"]:
            raise BadSource(f"the file's digest is {rows.source}", hint=f"it was imported from {params['source']}")
        return rows, f"import of {params['source']}"

    def _pushed_again(self, project: str, params: Mapping[str, Any]) -> CheckedRows:
        batch = self._registry.document(project, params["request"])
        base = None
        if "from" in params:
            whence = params["from"]
            base = self._store.version(project, whence["name"], whence["digest"], whence["order"])
            if base is None:
                raise NotRebuildable("the version before the push is not there")
        rows = CheckedRows(self._limits, params["key"], "the pushed rows", self._sees(project))
        pushed = [PushedRow(row["value"], row.get("key")) for row in batch["rows"]]
        self._upsert(rows, base, pushed, batch["remove"])
        return rows

    def _derived(self, project: str, source: DatasetVersion, steps: Sequence[Mapping[str, Any]]) -> CheckedRows:
        memories: list[Seen] = []

        def seen() -> Callable[[bytes], bool]:
            memories.append(Seen())
            return memories[-1].before

        stream = ((row.key, row.value) for row in self.all_rows(source))
        rows = CheckedRows(self._limits, None, f"the rows of {source.name}@{source.semver}", self._sees(project))
        numbered = enumerate(apply_steps(steps, stream, seen), 1)
        try:
            return check_all(rows, ((number, value, key) for number, (key, value) in numbered))
        finally:
            for memory in memories:
                memory.close()

    def _key_field(self, version: DatasetVersion) -> str | None:
        found = self._registry.version(version.project, KIND, version.name, version.semver).meta.get("key")
        return str(found) if found else None

    # -- side columns -------------------------------------------------------------------------------------------

    def set_column(self, version: DatasetVersion, column: str, values: Mapping[str, Any], *, actor: Principal) -> int:
        """Say something of rows beside them, by their keys: a score, a label. The rows and digests stay as they are.

        What is said belongs to a row's content: it stands in every version and dataset of the project that has the row.
        """
        check_simple_name(column, "name of a column")
        if len(values) > self._limits.max_push_rows:
            raise DatasetTooLarge(f"{len(values)} values at once", hint=f"at most {self._limits.max_push_rows}")
        stored, now = self._stored(version), self._clock.now()
        kept, errors = [], []
        for number, (key, value) in enumerate(values.items(), 1):
            member = self._store.member(stored, key) if key_fits(key) else None
            if member is None:
                errors.append(RowError(number, "", f"no row has the key {key[:80]!r}"))
            elif len(canonical_json(value)) > self._limits.max_row_bytes:
                errors.append(RowError(number, "", f"longer than {self._limits.max_row_bytes} bytes"))
            else:
                kept.append(ColumnValue(member.digest, column, value, actor.id, now))
        if errors:
            shown = errors[: self._limits.max_errors]
            raise BadRows(shown, more=len(shown) < len(errors), where=f"the column {column!r}")
        self._store.put_columns(version.project, kept)
        return len(kept)

    def columns(self, project: str, rows: Sequence[Row], names: Sequence[str] = ()) -> dict[str, dict[str, Any]]:
        """Return what side columns say of rows, by row digest and column."""
        wanted = sorted({bytes.fromhex(row.digest.removeprefix("sha256:")) for row in rows})
        found: dict[str, dict[str, Any]] = {}
        for value in self._store.columns(project, wanted, names):
            found.setdefault(f"sha256:{value.digest.hex()}", {})[value.column] = value.value
        return found

    # -- reading ------------------------------------------------------------------------------------------------

    def names(
        self, project: str, *, limit: int = 50, after: str = "", contains: str = "", backwards: bool = False
    ) -> list[Version]:
        """Return the newest version of every dataset, in the order of names; `meta` tells rows, order and schema."""
        return self._registry.names(project, KIND, limit=limit, after=after, contains=contains, backwards=backwards)

    def lately(
        self,
        project: str,
        *,
        limit: int = 50,
        after: tuple[datetime, str] | None = None,
        contains: str = "",
        newest: bool = True,
    ) -> list[Version]:
        """Return the newest version of every dataset, by when it was made."""
        return self._registry.lately(project, KIND, limit=limit, after=after, contains=contains, newest=newest)

    def versions(self, project: str, name: str, *, limit: int = 50, before: int | None = None) -> list[Version]:
        """Return the versions of a dataset, newest first."""
        return self._registry.versions(project, KIND, name, limit=limit, before=before)

    def version(self, project: str, name: str, semver: str | None = None) -> DatasetVersion:
        """Return one version, the newest without `semver`; raise `DatasetNotFound`."""
        try:
            version = self._registry.version(project, KIND, name, semver)
        except VersionNotFound as error:
            raise DatasetNotFound(error.message, hint=error.hint) from None
        stored = self._store.version(project, name, version.digest, version.meta["order"])
        if stored is None:
            self._registry.whole(project, version.digest)
            raise DatasetNotFound(f"the rows of {name}@{version.semver} are not there", hint="import it again")
        return _joined(version, stored)

    def by_digest(self, project: str, digest: str, order: str | None = None) -> DatasetVersion:
        """Return the version that a release pins by digest and order."""
        found = self._store.find(project, parse_digest(digest), order)
        if found is not None:
            name, stored = found
            for version in self._registry.versions_of(project, digest):
                if version.kind == KIND and version.name == name and version.meta["order"] == stored.order:
                    return _joined(version, stored)
        with suppress(ArtifactNotFound):
            self._registry.whole(project, digest)
        raise DatasetNotFound(
            f"the project {project!r} has no dataset {digest}", hint="check the digest and the project"
        )

    def rows(self, version: DatasetVersion, *, limit: int = 100, after: int = 0) -> list[Row]:
        """Return rows in their order, from behind the position `after`."""
        stored = self._stored(version)
        members = self._store.members(stored, after=after, limit=limit)
        contents = self._store.contents(version.project, [member.digest for member in members])
        return [_row(member, contents) for member in members]

    def row(self, version: DatasetVersion, key: str) -> Row | None:
        """Return the row of a version by its key, None where there is none."""
        member = self._store.member(self._stored(version), key)
        return None if member is None else _row(member, self._store.contents(version.project, [member.digest]))

    def matching(
        self, version: DatasetVersion, text: str, *, limit: int = 100, after: int = 0
    ) -> tuple[list[Row], int | None]:
        """Return rows that hold a text in their key or content, whatever its case, and where to go on (None: the end).

        At most `MAX_SEARCHED` rows are read at a time, so that a page may hold fewer rows than there are, even none.
        """
        stored, wanted = self._stored(version), text.casefold()
        found: list[Row] = []
        read = 0
        while read < MAX_SEARCHED:
            members = self._store.members(stored, after=after, limit=_STREAM)
            contents = self._store.contents(version.project, [member.digest for member in members])
            for member in members:
                after = member.position
                if wanted in member.key.casefold() or wanted in contents[member.digest].decode().casefold():
                    found.append(_row(member, contents))
                    if len(found) == limit:
                        return found, after
            read += len(members)
            if len(members) < _STREAM:
                return found, None
        return found, after

    def all_rows(self, version: DatasetVersion, *, batch: int = _STREAM) -> Iterator[Row]:
        """Yield all rows in their order, a batch at a time."""
        stored = self._stored(version)
        for members in batches(self._members(stored, batch), batch):
            contents = self._store.contents(version.project, [member.digest for member in members])
            for member in members:
                yield _row(member, contents)

    def all_lines(self, version: DatasetVersion) -> Iterator[bytes]:
        """Yield the canonical bytes of all rows in their order, each with the proof that they are its digest's."""
        stored = self._stored(version)
        for members in batches(self._members(stored, _STREAM), _STREAM):
            contents = self._store.contents(version.project, [member.digest for member in members])
            for member in members:
                content = contents.get(member.digest)
                if content is None or hashlib.sha256(content).digest() != member.digest:
                    raise DatasetNotFound(f"the row {member.key!r} is damaged", hint="restore the last backup")
                yield content

    def verify(self, version: DatasetVersion) -> bool:
        """Read all that is stored of a version, and tell whether it is what the digests say."""
        stored = self._stored(version)
        for _ in self.all_lines(version):
            pass
        by_key = ((member.key, member.digest) for member in self._by_key(stored))
        return (sorted_dataset_digest(by_key), order_digest(member.key for member in self._members(stored))) == (
            version.digest,
            version.order,
        )

    def recount(self, version: DatasetVersion, *, most_named: int = 20) -> Recount:
        """Read every stored row and compute all digests again from what is read; nothing stored is believed.

        Rows are read as a stream. A row that is not there or has other bytes is named, up to `most_named` of each.
        """
        stored = self._stored(version)
        shape = Shape()
        missing: list[str] = []
        damaged: list[str] = []
        rows = size = 0

        def read() -> Iterator[tuple[str, bytes]]:
            nonlocal rows, size
            for members in batches(self._by_key(stored), _STREAM):
                contents, broken = self._contents(version.project, [member.digest for member in members])
                for member in members:
                    content = contents.get(member.digest)
                    found = None if content is None else hashlib.sha256(content).digest()
                    rows += 1
                    if found == member.digest and content is not None:
                        size += len(content)
                        shape.add(_value(content))
                    else:
                        gone = content is None and member.digest not in broken
                        named = missing if gone else damaged
                        if len(named) < most_named:
                            named.append(member.key)
                    if found is not None:
                        yield member.key, found

        digest = sorted_dataset_digest(read())
        order = order_digest(member.key for member in self._members(stored))
        return Recount(digest, order, digest_json(shape.schema()), rows, size, tuple(missing), tuple(damaged))

    def _contents(self, project: str, digests: Sequence[bytes]) -> tuple[dict[bytes, bytes], set[bytes]]:
        """Return contents by digest, and the digests of rows that cannot be unpacked."""
        try:
            return self._store.contents(project, digests), set()
        except RowUnreadable:
            pass
        found: dict[bytes, bytes] = {}
        broken: set[bytes] = set()
        for digest in digests:  # one of them is damaged: find out which
            try:
                found.update(self._store.contents(project, [digest]))
            except RowUnreadable:
                broken.add(digest)
        return found, broken

    def _members(self, stored: StoredVersion, batch: int = 5 * _STREAM) -> Iterator[Member]:
        after = 0
        while found := self._store.members(stored, after=after, limit=batch):
            yield from found
            after = found[-1].position

    def _by_key(self, stored: StoredVersion, after: str = "") -> Iterator[Member]:
        while found := self._store.members_by_key(stored, after=after, limit=5 * _STREAM):
            yield from found
            after = found[-1].key

    def _newest(self, project: str, name: str) -> Version | None:
        found = self._registry.versions(project, KIND, name, limit=1)
        return found[0] if found else None

    def diff(
        self,
        project: str,
        name: str,
        old: str,
        new: str,
        *,
        limit: int = 100,
        after: str = "",
        of: str = "",
        change: ChangeKind | None = None,
    ) -> DatasetDiff:
        """Say which rows were added, removed, changed (field by field) and moved from one version to another.

        `old` and `new` are version numbers; rows come in the order of keys, from behind the key `after`. `of` names
        another dataset that `new` is a version of: its rows are compared by key, and none of them is called moved.
        With `change` only rows of that kind come; the counts are of all.
        """
        limit = min(limit, MAX_DIFF_PAGE)
        left, right = self._two(project, name, old, new, of)
        counts = self._count(left, right)
        page: list[tuple[str, Member | None, Member | None]] = []
        more = False
        for each in self._differences(left, right, after):
            if change is not None and _change(each[1], each[2]) != change:
                continue
            if len(page) == limit:
                more = True
                break
            page.append(each)
        items = tuple(self._change_rows(project, page))
        return DatasetDiff(**counts, items=items, next_key=page[-1][0] if more else None)

    def all_changes(self, project: str, name: str, old: str, new: str, *, of: str = "") -> Iterator[RowChange]:
        """Yield every row that differs between two versions, in the order of keys, a batch at a time."""
        left, right = self._two(project, name, old, new, of)
        for part in batches(self._differences(left, right), _STREAM):
            yield from self._change_rows(project, part)

    def _two(self, project: str, name: str, old: str, new: str, of: str) -> tuple[StoredVersion, StoredVersion]:
        return self._stored(self.version(project, name, old)), self._stored(self.version(project, of or name, new))

    def _count(self, left: StoredVersion, right: StoredVersion) -> dict[ChangeKind, int]:
        """Count changes by kind; versions do not change, so that what was counted stays true."""
        place = (f"{left.dataset} {right.dataset}", left.seq, right.seq)
        counts = self._counts.get(place)
        if counts is None:
            counts = {"added": 0, "removed": 0, "changed": 0, "moved": 0}
            for _, before, now in self._differences(left, right):
                counts[_change(before, now)] += 1
            while len(self._counts) >= _COUNTS_KEPT:
                with suppress(KeyError, StopIteration, RuntimeError):  # another thread may do the same
                    del self._counts[next(iter(self._counts))]
            self._counts[place] = counts
        return counts

    def _differences(
        self, left: StoredVersion, right: StoredVersion, after: str = ""
    ) -> Iterator[tuple[str, Member | None, Member | None]]:
        if left.dataset != right.dataset:
            yield from _merged(self._by_key(left, after), self._by_key(right, after))
            return
        older, newer = sorted((left.seq, right.seq))
        for key, before, now in self._store.changed(left.dataset, older, newer, after=after):
            yield (key, before, now) if left.seq <= right.seq else (key, now, before)

    def _change_rows(
        self, project: str, page: Sequence[tuple[str, Member | None, Member | None]]
    ) -> Iterator[RowChange]:
        digests = {member.digest for _, before, now in page for member in (before, now) if member}
        contents = self._store.contents(project, sorted(digests))
        for key, before, now in page:
            yield _row_change(key, _change(before, now), before, now, contents)

    def _stored(self, version: DatasetVersion) -> StoredVersion:
        stored = self._store.version(version.project, version.name, version.digest, version.order)
        if stored is None:
            raise DatasetNotFound(f"the rows of {version.name}@{version.semver} are not there")
        return stored


def _joined(version: Version, stored: StoredVersion) -> DatasetVersion:
    return DatasetVersion(
        version.project, version.name, stored.seq, version.semver, stored.digest, stored.order, stored.schema_digest,
        stored.schema, stored.rows, stored.size, version.author, version.author_name,
        version.created_at, version.reason,
        version.expected_outcome, version.meta.get("role", ""), version.meta.get("declared", ""),
    )  # fmt: skip


def _value(content: bytes) -> Mapping[str, Any]:
    value = parse_json(content, where="a stored row")
    if not isinstance(value, dict):
        raise DatasetNotFound("a stored row is damaged", hint="restore the last backup")
    return value


def _row(member: Member, contents: Mapping[bytes, bytes]) -> Row:
    content = contents.get(member.digest)
    if content is None:
        raise DatasetNotFound(f"the row {member.key!r} is not there", hint="it was erased, or the store is damaged")
    return Row(member.key, Digest("sha256:" + member.digest.hex()), member.position, _value(content))


def _change(old: Member | None, new: Member | None) -> Literal["added", "removed", "changed", "moved"]:
    if old is None:
        return "added"
    if new is None:
        return "removed"
    return "moved" if old.digest == new.digest else "changed"


def _row_change(
    key: str,
    change: Literal["added", "removed", "changed", "moved"],
    old: Member | None,
    new: Member | None,
    contents: Mapping[bytes, bytes],
) -> RowChange:
    before = _value(contents[old.digest]) if old and old.digest in contents else None
    after = _value(contents[new.digest]) if new and new.digest in contents else None
    fields = (
        tuple(diff_values(before, after)) if change == "changed" and before is not None and after is not None else ()
    )
    return RowChange(key, change, before, after, fields)


def _merged(left: Iterator[Member], right: Iterator[Member]) -> Iterator[tuple[str, Member | None, Member | None]]:
    """Yield members that differ in content, of two lists in the order of keys."""
    old, new = next(left, None), next(right, None)
    while old is not None or new is not None:
        if new is None or (old is not None and old.key.encode() < new.key.encode()):
            assert old is not None  # noqa: S101 - one of them is there
            yield old.key, old, None
            old = next(left, None)
        elif old is None or new.key.encode() < old.key.encode():
            yield new.key, None, new
            new = next(right, None)
        else:
            if old.digest != new.digest:
                yield old.key, old, new
            old, new = next(left, None), next(right, None)


def _batch(rows: Sequence[PushedRow], remove: Sequence[str]) -> dict[str, Any]:
    told = [{"value": dict(row.value)} | ({} if row.key is None else {"key": row.key}) for row in rows]
    return {"rows": told, "remove": list(remove)}


def _check_role(role: str) -> None:
    if role and role not in ROLES:
        raise InvalidInput(f"{role!r} is no role of a dataset", hint=", ".join(ROLES), code="bad_role")


def _told(form: CsvForm | None) -> dict[str, Any]:
    return {} if form is None else dict(msgspec.to_builtins(form))
