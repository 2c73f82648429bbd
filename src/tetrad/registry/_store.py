"""What the registry keeps, on SQLite and PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from tetrad.kernel import Digest
from tetrad.kit.db import Database, insert_or_ignore, upsert
from tetrad.registry import _evidence_store, _run_store  # noqa: F401 - so that the metadata knows their tables
from tetrad.registry._activities import chunks, insert_activity, lineage_edges, read_activities
from tetrad.registry._model import (
    AUTHORS,
    GENESIS,
    Activity,
    Artifact,
    Ref,
    RefEntry,
    RefRule,
    RefStep,
    Version,
    erased,
    governs,
    young,
)
from tetrad.registry._tables import (
    artifact_parts,
    artifacts,
    ref_log,
    ref_log_heads,
    ref_rules,
    refs,
    version_names,
    versions,
)
from tetrad.registry.ports import Makers


class SqlRegistryStore:
    """`RegistryStore` on a relational database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # -- artifacts ----------------------------------------------------------------------------------------------

    def add_artifact(self, artifact: Artifact, parts: Sequence[tuple[Digest, str]]) -> Artifact:
        known = self.artifact(artifact.project, artifact.digest)
        if known is not None and young(known, artifact.created_at):
            return known
        with self._database.write() as connection:
            share_project(connection, artifact.project)
            refuse_erased(connection, artifact.project, [part for part, _ in parts])
            row = {
                "project": artifact.project, "digest": artifact.digest, "kind": artifact.kind,
                "media_type": artifact.media_type, "size": artifact.size, "stored": artifact.stored,
                "created_at": artifact.created_at, "created_by": artifact.created_by, "kept_at": artifact.created_at,
            }  # fmt: skip
            if insert_or_ignore(connection, artifacts, row) or _revived(connection, artifact):
                for chunk in chunks(parts):
                    insert_or_ignore(
                        connection, artifact_parts,
                        [
                            {"project": artifact.project, "digest": artifact.digest, "part": part, "role": role}
                            for part, role in chunk
                        ],
                    )  # fmt: skip
            found = connection.execute(_one_artifact(artifact.project, artifact.digest)).one()
        return _artifact(found)

    def hold(self, project: str, digests: Sequence[str], transaction: Any) -> None:
        share_project(transaction, project)
        refuse_erased(transaction, project, digests)

    def touch(self, project: str, digest: str, *, at: datetime) -> bool:
        known = self.artifact(project, digest)
        if known is None or known.erased_at is not None:
            return False
        if young(known, at):
            return True
        with self._database.write() as connection:
            share_project(connection, project)
            mine = sa.and_(
                artifacts.c.project == project, artifacts.c.digest == digest, artifacts.c.erased_at.is_(None)
            )
            return bool(connection.execute(sa.update(artifacts).where(mine).values(kept_at=at)).rowcount)

    def artifact(self, project: str, digest: str) -> Artifact | None:
        with self._database.read() as connection:
            row = connection.execute(_one_artifact(project, digest)).one_or_none()
        return None if row is None else _artifact(row)

    def visible(self, project: str, digests: Iterable[str]) -> set[str]:
        found: set[str] = set()
        with self._database.read() as connection:
            for chunk in chunks(sorted(set(digests))):
                found.update(
                    connection.scalars(
                        sa.select(artifacts.c.digest)
                        .where(
                            artifacts.c.project == project,
                            artifacts.c.digest.in_(chunk),
                            artifacts.c.erased_at.is_(None),
                        )
                        .union(
                            sa.select(artifact_parts.c.part).where(
                                artifact_parts.c.project == project, artifact_parts.c.part.in_(chunk)
                            )
                        )
                    )
                )
                gone = sa.select(artifacts.c.digest).where(
                    artifacts.c.project == project, artifacts.c.digest.in_(chunk), artifacts.c.erased_at.is_not(None)
                )
                found.difference_update(connection.scalars(gone))
        return found

    def parts(self, project: str, digest: str) -> list[tuple[Digest, str]]:
        statement = (
            sa.select(artifact_parts.c.part, artifact_parts.c.role)
            .where(artifact_parts.c.project == project, artifact_parts.c.digest == digest)
            .order_by(artifact_parts.c.role, artifact_parts.c.part)
        )
        with self._database.read() as connection:
            return [(Digest(part), role) for part, role in connection.execute(statement)]

    # -- versions -----------------------------------------------------------------------------------------------

    def add_version(
        self, project: str, kind: str, name: str, decide: Callable[[Sequence[Version]], Version]
    ) -> Version:
        identity = {"project": project, "kind": kind, "name": name}
        with self._database.write() as connection:
            share_project(connection, project)
            insert_or_ignore(connection, version_names, {**identity, "last_seq": 0})
            # An update that changes nothing, to hold the name's row until the end of the transaction.
            mine = sa.and_(*(version_names.c[column] == value for column, value in identity.items()))
            connection.execute(sa.update(version_names).where(mine).values(last_seq=version_names.c.last_seq))
            known = [
                _version(row)
                for row in connection.execute(
                    sa.select(versions)
                    .where(*(versions.c[column] == value for column, value in identity.items()))
                    .order_by(versions.c.seq.desc())
                )
            ]
            chosen = decide(known)
            refuse_erased(connection, project, [chosen.digest])
            if any(chosen is version for version in known):
                return chosen
            connection.execute(
                sa.insert(versions).values(
                    **identity, seq=chosen.seq, semver=chosen.semver, digest=chosen.digest, parent=chosen.parent,
                    author=chosen.author, author_name=chosen.author_name, reason=chosen.reason,
                    expected_outcome=chosen.expected_outcome, meta=dict(chosen.meta), created_at=chosen.created_at,
                )
            )  # fmt: skip
            connection.execute(sa.update(version_names).where(mine).values(last_seq=chosen.seq))
        return chosen

    def versions(self, project: str, kind: str, name: str | None, *, limit: int, before: int | None) -> list[Version]:
        statement = sa.select(versions).where(versions.c.project == project, versions.c.kind == kind)
        if name is not None:
            statement = statement.where(versions.c.name == name)
        if before is not None:
            statement = statement.where(versions.c.seq < before)
        return self._versions(statement.order_by(versions.c.seq.desc(), versions.c.name).limit(limit))

    def version(self, project: str, kind: str, name: str, semver: str) -> Version | None:
        found = self._versions(
            sa.select(versions).where(
                versions.c.project == project, versions.c.kind == kind, versions.c.name == name,
                versions.c.semver == semver,
            )
        )  # fmt: skip
        return found[0] if found else None

    def named(
        self,
        project: str,
        kind: str,
        *,
        limit: int,
        after: str,
        contains: str = "",
        backwards: bool = False,
    ) -> list[Version]:
        name = versions.c.name
        statement = _newest(project, kind, contains)
        if after or not backwards:
            statement = statement.where(name < after if backwards else name > after)
        return self._versions(statement.order_by(name.desc() if backwards else name).limit(limit))

    def lately(
        self, project: str, kind: str, *, limit: int, after: tuple[datetime, str] | None, contains: str, newest: bool
    ) -> list[Version]:
        statement = _newest(project, kind, contains)
        at, name = versions.c.created_at, versions.c.name
        if after is not None:
            behind = at < after[0] if newest else at > after[0]
            statement = statement.where(sa.or_(behind, sa.and_(at == after[0], name > after[1])))
        return self._versions(statement.order_by(at.desc() if newest else at, name).limit(limit))

    def versions_of(self, project: str, digest: str) -> list[Version]:
        return self._versions(
            sa.select(versions)
            .where(versions.c.project == project, versions.c.digest == digest)
            .order_by(versions.c.kind, versions.c.name, versions.c.seq.desc())
        )

    def versions_of_all(self, project: str, digests: Sequence[str]) -> list[Version]:
        found: list[Version] = []
        for chunk in chunks(sorted(set(digests))):
            found += self._versions(
                sa.select(versions)
                .where(versions.c.project == project, versions.c.digest.in_(chunk))
                .order_by(versions.c.kind, versions.c.name, versions.c.seq.desc())
            )
        return found

    def _versions(self, statement: sa.Select[Any]) -> list[Version]:
        with self._database.read() as connection:
            return [_version(row) for row in connection.execute(statement)]

    # -- refs ---------------------------------------------------------------------------------------------------

    def move_ref(
        self,
        project: str,
        ref: str,
        *,
        decide: Callable[[Ref | None, bool, Sequence[RefRule], tuple[int, str], Any], RefEntry | None],
    ) -> tuple[Ref | None, RefEntry | None]:
        with self._database.write() as connection:
            # Moves within a project follow one another, which the chain needs anyway.
            hold_project(connection, project)
            mine = ref_log_heads.c.project == project
            head = connection.execute(sa.select(ref_log_heads.c.seq, ref_log_heads.c.hash).where(mine)).one()
            rules = _rules(connection, project)
            row = connection.execute(_one_ref(project, ref)).one_or_none()
            current = _ref(row, rules) if row is not None and row.digest is not None else None
            reserved = row is not None and row.digest is None
            entry = decide(current, reserved, rules, (head.seq, head.hash), connection)
            if entry is None:
                return current, None
            if entry.new is not None:
                refuse_erased(connection, project, [entry.new])
            connection.execute(sa.insert(ref_log).values(**_columns(ref_log, entry)))
            connection.execute(sa.update(ref_log_heads).where(mine).values(seq=entry.seq, hash=entry.hash))
            moved = {
                "project": project, "name": ref, "digest": entry.new, "revision": (row.revision if row else 0) + 1,
                "moved_at": entry.at, "moved_by": entry.actor, "moved_by_name": entry.actor_name,
            }  # fmt: skip
            upsert(connection, refs, moved, key=("project", "name"))
            after = connection.execute(_one_ref(project, ref)).one()
        return (None if after.digest is None else _ref(after, rules)), entry

    def ref(self, project: str, name: str) -> Ref | None:
        with self._database.read() as connection:
            row = connection.execute(_one_ref(project, name)).one_or_none()
            return None if row is None or row.digest is None else _ref(row, _rules(connection, project))

    def refs(self, project: str, prefix: str, *, limit: int, after: str) -> list[Ref]:
        statement = (
            sa.select(refs)
            .where(
                refs.c.project == project,
                refs.c.digest.is_not(None),
                refs.c.name.startswith(prefix, autoescape=True),
                refs.c.name > after,
            )
            .order_by(refs.c.name)
            .limit(limit)
        )
        with self._database.read() as connection:
            rules = _rules(connection, project)
            return [_ref(row, rules) for row in connection.execute(statement)]

    def ref_log(
        self,
        project: str,
        ref: str | None,
        *,
        limit: int,
        before: int | None,
        actor: str = "",
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> list[RefEntry]:
        statement = sa.select(ref_log).where(ref_log.c.project == project)
        if actor:
            statement = statement.where(sa.or_(ref_log.c.actor == actor, ref_log.c.actor_name == actor))
        if since is not None:
            statement = statement.where(ref_log.c.at >= since)
        if until is not None:
            statement = statement.where(ref_log.c.at < until)
        if ref is not None and ref.endswith("/"):
            statement = statement.where(ref_log.c.ref.startswith(ref, autoescape=True))
        elif ref is not None:
            statement = statement.where(ref_log.c.ref == ref)
        if before is not None:
            statement = statement.where(ref_log.c.seq < before)
        with self._database.read() as connection:
            rows = connection.execute(statement.order_by(ref_log.c.seq.desc()).limit(limit))
            return [RefEntry(**row._mapping) for row in rows]

    def ref_path(self, project: str, ref: str, *, limit: int) -> list[RefStep]:
        mine = ref_log.c
        statement = (
            sa.select(mine.seq, mine.old, mine.new)
            .where(mine.project == project, mine.ref == ref)
            .order_by(mine.seq.desc())
            .limit(limit)
        )
        with self._database.read() as connection:
            found = [RefStep(*row) for row in connection.execute(statement)]
        found.reverse()
        return found

    def ref_had(self, project: str, ref: str, digest: str) -> bool:
        mine = ref_log.c
        statement = sa.select(mine.seq).where(mine.project == project, mine.ref == ref, mine.new == digest).limit(1)
        with self._database.read() as connection:
            return connection.execute(statement).one_or_none() is not None

    def walk_log(self, project: str) -> tuple[Iterable[RefEntry], tuple[int, str]]:
        with self._database.read() as connection:
            head = connection.execute(
                sa.select(ref_log_heads.c.seq, ref_log_heads.c.hash).where(ref_log_heads.c.project == project)
            ).one_or_none()

        def entries() -> Iterator[RefEntry]:
            last = 0
            while True:
                with self._database.read() as connection:
                    rows = connection.execute(
                        sa.select(ref_log)
                        .where(ref_log.c.project == project, ref_log.c.seq > last)
                        .order_by(ref_log.c.seq)
                        .limit(1000)
                    ).all()
                for row in rows:
                    if head is not None and row.seq > head.seq:  # written since we looked
                        return
                    yield RefEntry(**row._mapping)
                    last = row.seq
                if not rows:
                    return

        return entries(), (head.seq, head.hash) if head else (0, GENESIS)

    def add_rule(self, rule: RefRule) -> None:
        with self._database.write() as connection:
            upsert(connection, ref_rules, _columns(ref_rules, rule), key=("project", "pattern"))

    def remove_rule(self, project: str, pattern: str) -> bool:
        with self._database.write() as connection:
            done = connection.execute(
                sa.delete(ref_rules).where(ref_rules.c.project == project, ref_rules.c.pattern == pattern)
            )
            return bool(done.rowcount)

    def rules(self, project: str) -> list[RefRule]:
        with self._database.read() as connection:
            return _rules(connection, project)

    # -- lineage ------------------------------------------------------------------------------------------------

    def add_activity(self, activity: Activity) -> None:
        with self._database.write() as connection:
            insert_activity(connection, activity)

    def activity(self, project: str, activity_id: str) -> Activity | None:
        with self._database.read() as connection:
            found = read_activities(connection, project, [activity_id])
        return found[0] if found else None

    def activities_of(self, project: str, digests: Sequence[str], direction: str) -> list[Activity]:
        with self._database.read() as connection:
            ids: set[str] = set()
            for chunk in chunks(digests):
                ids.update(
                    connection.scalars(
                        sa.select(lineage_edges.c.activity).where(
                            lineage_edges.c.project == project,
                            lineage_edges.c.digest.in_(chunk),
                            lineage_edges.c.direction == direction,
                        )
                    )
                )
            return read_activities(connection, project, sorted(ids))

    # -- many at once -------------------------------------------------------------------------------------------

    def ancestors(self, project: str, digests: Sequence[str], *, limit: int) -> list[str]:
        found = dict.fromkeys(sorted(set(digests)))
        frontier = list(found)
        with self._database.read() as connection:
            while frontier and len(found) < limit:
                reached: dict[str, None] = {}
                for chunk in chunks(frontier):
                    makers = connection.scalars(
                        sa.select(lineage_edges.c.activity).where(
                            lineage_edges.c.project == project, lineage_edges.c.digest.in_(chunk),
                            lineage_edges.c.direction == "out",
                        )
                    ).all()  # fmt: skip
                    for part in chunks(sorted(set(makers))):
                        used = sa.select(lineage_edges.c.digest).where(
                            lineage_edges.c.project == project, lineage_edges.c.activity.in_(part),
                            lineage_edges.c.direction == "in", lineage_edges.c.policy != "none",
                        )  # fmt: skip
                        reached.update(dict.fromkeys(connection.scalars(used)))
                frontier = [digest for digest in reached if digest not in found]
                found.update(dict.fromkeys(frontier))
        return list(found)[:limit]

    def artifacts(self, project: str, digests: Sequence[str]) -> list[Artifact]:
        with self._database.read() as connection:
            return [
                _artifact(row)
                for chunk in chunks(sorted(set(digests)))
                for row in connection.execute(
                    sa.select(artifacts).where(artifacts.c.project == project, artifacts.c.digest.in_(chunk))
                )
            ]

    def naming(self, project: str, digests: Sequence[str]) -> list[Version]:
        with self._database.read() as connection:
            return [
                _version(row)
                for chunk in chunks(sorted(set(digests)))
                for row in connection.execute(
                    sa.select(versions)
                    .where(versions.c.project == project, versions.c.digest.in_(chunk))
                    .order_by(versions.c.kind, versions.c.name, versions.c.seq)
                )
            ]

    def newest(self, project: str, kind: str, names: Sequence[str]) -> list[Version]:
        with self._database.read() as connection:
            return [
                _version(row)
                for chunk in chunks(sorted(set(names)))
                for row in connection.execute(
                    sa.select(versions)
                    .join(
                        version_names,
                        sa.and_(
                            version_names.c.project == versions.c.project, version_names.c.kind == versions.c.kind,
                            version_names.c.name == versions.c.name, version_names.c.last_seq == versions.c.seq,
                        ),
                    )
                    .where(versions.c.project == project, versions.c.kind == kind, versions.c.name.in_(chunk))
                )
            ]  # fmt: skip

    def holding(self, project: str, parts: Sequence[str], *, limit: int) -> list[tuple[str, str]]:
        with self._database.read() as connection:
            return [
                (row.digest, row.part)
                for chunk in chunks(sorted(set(parts)))
                for row in connection.execute(
                    sa.select(artifact_parts.c.digest, artifact_parts.c.part)
                    .where(artifact_parts.c.project == project, artifact_parts.c.part.in_(chunk))
                    .limit(limit)
                )
            ]

    def holders(self, project: str, parts: Sequence[str], *, limit: int) -> list[str]:
        held = [
            sa.exists().where(
                each.c.project == artifacts.c.project, each.c.digest == artifacts.c.digest, each.c.part == part
            )
            for part in parts
            for each in (artifact_parts.alias(),)
        ]
        statement = (
            sa.select(artifacts.c.digest)
            .where(artifacts.c.project == project, *held)
            .order_by(artifacts.c.created_at.desc(), artifacts.c.digest)
            .limit(limit)
        )
        with self._database.read() as connection:
            return list(connection.scalars(statement))

    def makers(self, project: str, digests: Sequence[str], transaction: Any = None) -> dict[str, Makers]:
        if transaction is not None:
            return _makers(transaction, project, digests)
        with self._database.read() as connection:
            return _makers(connection, project, digests)


def hold_project(connection: sa.Connection, project: str) -> None:
    """Hold a project's log head until the transaction ends: alone among moves, revocations, collections, writes."""
    insert_or_ignore(connection, ref_log_heads, {"project": project, "seq": 0, "hash": GENESIS})
    mine = ref_log_heads.c.project == project
    connection.execute(sa.update(ref_log_heads).where(mine).values(seq=ref_log_heads.c.seq))


def share_project(connection: sa.Connection, project: str) -> None:
    """Keep collections out until the transaction ends, beside others who do the same.

    SQLite has one writer at a time in any case.
    """
    insert_or_ignore(connection, ref_log_heads, {"project": project, "seq": 0, "hash": GENESIS})
    held = sa.select(ref_log_heads.c.seq).where(ref_log_heads.c.project == project).with_for_update(read=True)
    connection.execute(held)


def refuse_erased(connection: sa.Connection, project: str, digests: Sequence[str]) -> None:
    """Refuse to refer to what is only a tombstone; while the project is held or shared, nothing becomes one."""
    for chunk in chunks(digests):
        gone = connection.execute(
            sa.select(artifacts)
            .where(artifacts.c.project == project, artifacts.c.digest.in_(chunk), artifacts.c.erased_at.is_not(None))
            .limit(1)
        ).one_or_none()
        if gone is not None:
            raise erased(_artifact(gone))


def _revived(connection: sa.Connection, artifact: Artifact) -> bool:
    """Note that an artifact is kept again; tell whether it comes back from the dead, without its parts."""
    mine = sa.and_(artifacts.c.project == artifact.project, artifacts.c.digest == artifact.digest)
    known = _artifact(connection.execute(_one_artifact(artifact.project, artifact.digest)).one())
    if known.erased_at is not None and not known.collected:
        raise erased(known)
    back = {"erased_at": None, "erased_by": None, "erased_because": None} if known.collected else {}
    connection.execute(sa.update(artifacts).where(mine).values(kept_at=artifact.created_at, **back))
    return known.collected


def _makers(connection: sa.Connection, project: str, digests: Sequence[str]) -> dict[str, Makers]:
    found: dict[str, Makers] = {}
    for chunk in chunks(sorted(set(digests))):
        authors: dict[str, set[str]] = {}
        licences: dict[str, set[str]] = {}
        for version in connection.execute(
            sa.select(versions.c.digest, versions.c.author, versions.c.meta).where(
                versions.c.project == project, versions.c.digest.in_(chunk)
            )
        ):
            makers = version.meta.get(AUTHORS)
            authors.setdefault(version.digest, set()).update(
                [version.author, *(makers if isinstance(makers, list) else ())]
            )
            if isinstance(licence := version.meta.get("licence"), str) and licence:
                licences.setdefault(version.digest, set()).add(licence)
        for row in connection.execute(
            sa.select(artifacts.c.digest, artifacts.c.kind, artifacts.c.created_by).where(
                artifacts.c.project == project, artifacts.c.digest.in_(chunk)
            )
        ):
            found[row.digest] = Makers(
                row.kind,
                frozenset({row.created_by, *authors.get(row.digest, ())}),
                frozenset(licences.get(row.digest, ())),
            )
    return found


def _columns(table: sa.Table, value: object) -> dict[str, Any]:
    return {column.name: getattr(value, column.name) for column in table.c}


def _one_artifact(project: str, digest: str) -> sa.Select[Any]:
    return sa.select(artifacts).where(artifacts.c.project == project, artifacts.c.digest == digest)


def _one_ref(project: str, name: str) -> sa.Select[Any]:
    return sa.select(refs).where(refs.c.project == project, refs.c.name == name)


def _artifact(row: sa.Row[Any]) -> Artifact:
    return Artifact(
        row.project, Digest(row.digest), row.kind, row.media_type, row.size, row.created_at, row.created_by,
        bool(row.stored), row.erased_at, row.erased_by or "", row.erased_because or "", row.kept_at,
    )  # fmt: skip


def _newest(project: str, kind: str, contains: str) -> sa.Select[Any]:
    """Select the newest version of every name of a kind that holds a text, whatever its case."""
    statement = (
        sa.select(versions)
        .join(
            version_names,
            sa.and_(
                version_names.c.project == versions.c.project, version_names.c.kind == versions.c.kind,
                version_names.c.name == versions.c.name, version_names.c.last_seq == versions.c.seq,
            ),
        )
        .where(versions.c.project == project, versions.c.kind == kind)
    )  # fmt: skip
    return statement.where(versions.c.name.icontains(contains, autoescape=True)) if contains else statement


def _version(row: sa.Row[Any]) -> Version:
    return Version(**{name: row._mapping[name] for name in Version.__struct_fields__})


def _ref(row: sa.Row[Any], rules: Sequence[RefRule]) -> Ref:
    governed = any(governs(rule.pattern, row.name) for rule in rules)
    return Ref(
        row.project, row.name, Digest(row.digest), row.revision, row.moved_at, row.moved_by, row.moved_by_name, governed
    )


def _rules(connection: sa.Connection, project: str) -> list[RefRule]:
    rows = connection.execute(sa.select(ref_rules).where(ref_rules.c.project == project).order_by(ref_rules.c.pattern))
    return [RefRule(**row._mapping) for row in rows]
