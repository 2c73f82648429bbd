"""Import rows, name their versions, read them back, tell versions apart."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from typing import Any, BinaryIO, Final

import msgspec

from tetrad.datasets._checked import CheckedRows, DatasetLimits, check_all, key_fits, read_checked
from tetrad.datasets._formats import CsvForm
from tetrad.datasets._model import (
    ROLES,
    DatasetVersion,
    Shape,
    merge_schemas,
)
from tetrad.datasets._reader import KIND, STREAM, DatasetReader, joined, row_value
from tetrad.datasets._schema import check_schema
from tetrad.datasets._scratch import Seen, batches
from tetrad.datasets._steps import apply_steps, check_steps
from tetrad.datasets.errors import (
    BadRows,
    BadSource,
    BaseMoved,
    DatasetTooLarge,
    NotRebuildable,
    PushConflict,
    RowError,
)
from tetrad.datasets.ports import ColumnValue, DatasetStore, Push, StoredVersion
from tetrad.kernel import Clock, Digest, InvalidInput, Principal, canonical_json, digest_json
from tetrad.registry import (
    Activity,
    Edge,
    Registry,
    SemVer,
    check_simple_name,
)

MEDIA_TYPE = "application/vnd.tetrad.dataset"
SCHEMA_KIND = "dataset-schema"
PUSH_KIND = "dataset-push"
LEASE: Final = timedelta(minutes=10)
_ATTEMPTS = 8


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


class Datasets(DatasetReader):
    """The datasets of all projects. A version is immutable; its digest does not depend on where rows are stored."""

    def __init__(
        self, store: DatasetStore, registry: Registry, clock: Clock, *, limits: DatasetLimits | None = None
    ) -> None:
        super().__init__(store, registry)
        self._clock = clock
        self._limits = limits or DatasetLimits()

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
        for part in batches(rows.scratch.brought(), STREAM):
            stored = self._store.contents(project, [digest for digest, content in part if content is None])
            for digest, content in part:
                data = content if content is not None else stored[digest]
                size += len(data)
                shape.add(row_value(data))
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
        return joined(version, stored)

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


def _batch(rows: Sequence[PushedRow], remove: Sequence[str]) -> dict[str, Any]:
    told = [{"value": dict(row.value)} | ({} if row.key is None else {"key": row.key}) for row in rows]
    return {"rows": told, "remove": list(remove)}


def _check_role(role: str) -> None:
    if role and role not in ROLES:
        raise InvalidInput(f"{role!r} is no role of a dataset", hint=", ".join(ROLES), code="bad_role")


def _told(form: CsvForm | None) -> dict[str, Any]:
    return {} if form is None else dict(msgspec.to_builtins(form))
