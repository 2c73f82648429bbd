"""Keep what is named by the digest of its bytes, per project, and hand it back."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO

from tetrad.kernel import Clock, Digest, Principal, canonical_json, digest_bytes, parse_digest, parse_json
from tetrad.registry._lineage import Lineages, RegistryLimits
from tetrad.registry._model import Artifact, check_kind, erased, young
from tetrad.registry.errors import ArtifactConflict, ArtifactNotFound, ArtifactTooLarge
from tetrad.registry.ports import Blobs, RegistryStore

JSON = "application/json"


class Artifacts(Lineages):
    """The content of artifacts, of all projects.

    A digest grants nothing: every read names the project, and what the project may not see is not there.
    """

    def __init__(self, store: RegistryStore, blobs: Blobs, clock: Clock, limits: RegistryLimits) -> None:
        super().__init__(store, clock, limits)
        self._blobs = blobs

    def put_document(
        self, project: str, kind: str, document: object, *, actor: Principal, parts: Iterable[tuple[Digest, str]] = ()
    ) -> Artifact:
        """Keep a JSON value as an artifact: the stored bytes are its canonical form, their SHA-256 is its name."""
        return self.put_bytes(project, kind, canonical_json(document), actor=actor, parts=parts)

    def put_bytes(
        self,
        project: str,
        kind: str,
        data: bytes,
        *,
        actor: Principal,
        media_type: str = JSON,
        parts: Iterable[tuple[Digest, str]] = (),
    ) -> Artifact:
        """Keep bytes as an artifact of a project; keeping the same again changes nothing.

        `parts` (digest, role) are what the bytes refer to; the caller has put them there itself or may see them.
        """
        if len(data) > self._limits.max_document_bytes:
            raise ArtifactTooLarge(
                f"a {kind} of {len(data)} bytes", hint=f"at most {self._limits.max_document_bytes} bytes"
            )
        digest = digest_bytes(data)
        known = self._store.artifact(project, digest)
        # Bytes that are put again are safe from collections for a while; a row that was kept lately keeps its bytes.
        if known is None or not young(known, self._clock.now()) or not self._blobs.exists(digest):
            self._blobs.put_bytes(data)
        return self._keep(project, kind, digest, media_type, len(data), actor, parts, stored=True)

    def put_file(
        self,
        project: str,
        kind: str,
        path: Path,
        *,
        actor: Principal,
        media_type: str,
        parts: Iterable[tuple[Digest, str]] = (),
    ) -> Artifact:
        """Keep a file, such as a model's weights, as an artifact of a project."""
        digest = self._blobs.put_file(path)
        return self._keep(project, kind, digest, media_type, self._blobs.size(digest), actor, parts, stored=True)

    def put_identity(
        self, project: str, kind: str, digest: Digest, *, size: int, actor: Principal, media_type: str,
        parts: Iterable[tuple[Digest, str]] = (),
    ) -> Artifact:  # fmt: skip
        """Keep the name of something whose content its own slice keeps, such as a dataset's rows."""
        return self._keep(project, kind, parse_digest(digest), media_type, size, actor, parts, stored=False)

    def put_part(self, data: bytes) -> Digest:
        """Keep bytes that an artifact will name among its parts; until then no project sees them."""
        return self._blobs.put_bytes(data)

    def put_part_stream(self, source: BinaryIO, *, expected: Digest | None = None) -> Digest:
        """Keep what a stream yields as `put_part` does; memory is bounded, other bytes than `expected` are refused."""
        return self._blobs.put_stream(source, expected=expected)

    def put_part_file(self, path: Path) -> Digest:
        """Keep a file as `put_part` does; memory is bounded."""
        return self._blobs.put_file(path)

    def open_part(self, digest: Digest) -> BinaryIO:
        """Open bytes that the caller itself has put there, or has checked that the project may see."""
        return self._blobs.open(digest)

    def put_kept(
        self, project: str, kind: str, digest: Digest, *, actor: Principal, media_type: str,
        parts: Iterable[tuple[Digest, str]] = (),
    ) -> Artifact:  # fmt: skip
        """Make an artifact of bytes that `put_part` and its kin have kept."""
        size = self._blobs.size(parse_digest(digest))
        return self._keep(project, kind, digest, media_type, size, actor, parts, stored=True)

    def _keep(
        self, project: str, kind: str, digest: Digest, media_type: str, size: int, actor: Principal,
        parts: Iterable[tuple[Digest, str]], *, stored: bool,
    ) -> Artifact:  # fmt: skip
        named = sorted(set(parts))
        if len(named) > self._limits.max_parts:
            raise ArtifactTooLarge(f"a {kind} with {len(named)} parts", hint=f"at most {self._limits.max_parts}")
        artifact = Artifact(
            project, digest, check_kind(kind), media_type, size, self._clock.now(), actor.id, stored=stored
        )
        kept = self._store.add_artifact(artifact, named)
        if kept.kind != kind:
            raise ArtifactConflict(
                f"{digest} is known as a {kept.kind}, not as a {kind}", hint="the same bytes cannot be two kinds"
            )
        return kept

    def touch(self, project: str, digest: str) -> bool:
        """Tell whether an artifact is there with its content, and keep collections from it for their grace period.

        Whoever builds on an artifact without keeping it again asks this first.
        """
        return self._store.touch(project, parse_digest(digest), at=self._clock.now())

    def whole(self, project: str, digest: str) -> Artifact:
        """Return an artifact that has its content; raise `ArtifactErased` where only its name is left."""
        found = self.artifact(project, digest)
        if found.erased_at is not None:
            raise erased(found)
        return found

    def hold(self, project: str, digests: Iterable[str], transaction: Any) -> None:
        """Begin to hold artifacts in a transaction of the caller's, whose `Roots` name them once it is committed.

        Raises `ArtifactErased` where the content of one is gone; until the transaction ends none goes.
        """
        self._store.hold(project, sorted(set(digests)), transaction)

    def parts(self, project: str, digest: str) -> list[tuple[Digest, str]]:
        """Return what an artifact refers to, as (digest, role)."""
        return self._store.parts(project, self.artifact(project, digest).digest)

    def sees(self, project: str, digest: str) -> bool:
        """Tell whether a project may see bytes by that digest, as an artifact or as a part of one."""
        return digest in self._store.visible(project, [digest])

    def read(self, project: str, digest: str, *, max_bytes: int | None = None) -> bytes:
        """Return the bytes of an artifact, or of a part of one, that the project may see."""
        self._readable(project, digest, max_bytes or self._limits.max_document_bytes)
        return self._blobs.read(Digest(digest))

    def open(self, project: str, digest: str) -> BinaryIO:
        """Open the bytes of an artifact, or of a part of one, that the project may see."""
        self._readable(project, digest, None)
        return self._blobs.open(Digest(digest))

    def document(self, project: str, digest: str) -> dict[str, Any]:
        """Return a JSON artifact that is an object."""
        value = parse_json(self.read(project, digest), where=f"the artifact {digest}")
        if not isinstance(value, dict):
            raise ArtifactConflict(f"{digest} is no JSON object", hint="read its bytes instead")
        return value

    def documents(self, project: str, digests: Iterable[str]) -> dict[str, dict[str, Any]]:
        """Return the JSON artifacts among the digests that are objects and whose bytes are there."""
        wanted = sorted(set(digests))
        seen = self._store.visible(project, wanted)
        found: dict[str, dict[str, Any]] = {}
        for digest in wanted:
            if digest not in seen or not self._blobs.exists(Digest(digest)):
                continue
            value = parse_json(self._small(digest), where=f"the artifact {digest}")
            if isinstance(value, dict):
                found[digest] = value
        return found

    def _small(self, digest: str) -> bytes:
        if (size := self._blobs.size(Digest(digest))) > self._limits.max_document_bytes:
            raise ArtifactTooLarge(
                f"{digest} has {size} bytes", hint=f"at most {self._limits.max_document_bytes} are read at once"
            )
        return self._blobs.read(Digest(digest))

    def _readable(self, project: str, digest: str, max_bytes: int | None) -> None:
        known = self._store.artifact(project, parse_digest(digest))
        if known is not None and known.erased_at is not None:
            raise erased(known)
        if not self.sees(project, digest) or not self._blobs.exists(Digest(digest)):
            raise ArtifactNotFound(
                f"the project {project!r} has no bytes {digest}", hint="check the digest and the project"
            )
        if max_bytes is not None and (size := self._blobs.size(Digest(digest))) > max_bytes:
            raise ArtifactTooLarge(f"{digest} has {size} bytes", hint=f"at most {max_bytes} are read at once")
