"""R0: read everything that a release pins from where it is stored, and hash it again. Memory is bounded."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec

from tetrad.code import Code, CodeFile, tree_digest
from tetrad.datasets import DatasetNotFound, Datasets
from tetrad.kernel import Digest, NotFound, TetradError, digest_bytes, parse_json
from tetrad.models import ModelNotFound, Models, weights_digest
from tetrad.registry import ArtifactNotFound, Evidence, Registry
from tetrad.releases._reproduction import PartCheck, Tally
from tetrad.releases.ports import Prompts

MAX_EVIDENCE: Final = 2_000
_CHUNK = 1 << 20
_PAGE = 200
_HOSTED = "hosted"


class Pin(msgspec.Struct, frozen=True):
    """Something that a release pins: where it stands in the manifest, and what the manifest says of it."""

    kind: str
    role: str
    name: str
    digest: str
    said: Mapping[str, Any] = {}


class Refetch:
    """Looks at the parts of releases, one at a time; nothing is written. Safe to use from many threads."""

    def __init__(
        self,
        registry: Registry,
        code: Code,
        datasets: Datasets,
        models: Models,
        prompts: Prompts,
        evidence: Evidence | None = None,
    ) -> None:
        self._registry = registry
        self._code = code
        self._datasets = datasets
        self._models = models
        self._prompts = prompts
        self._evidence = evidence

    def pins(self, project: str, release: str) -> list[Pin]:
        """Return what is to be looked at: the manifest, what it names, and the evidence about it.

        Of a manifest that is not what its digest says, nothing is believed: it is all there is to look at.
        """
        found = [Pin("manifest", "", "", release)]
        manifest = self._manifest(project, release)
        if manifest is not None:
            code = manifest["code"]
            found.append(Pin("code", "", "", code["digest"], code))
            for kind in ("data", "model", "prompt"):
                found += [Pin(kind, part["role"], part["name"], part["digest"], part) for part in manifest[kind]]
            bases = {part["base"]: part for part in manifest["model"] if part.get("base")}
            found += [Pin("model", "base", f"of {part['name']}", base) for base, part in sorted(bases.items())]
        if self._evidence is not None:
            found.append(Pin("evidence", "", "", release))
        return found

    def check(self, project: str, pin: Pin) -> PartCheck:
        """Read one part again and say what became of it; a store that does not answer raises."""
        tally = Tally()
        if self._erased(project, pin.digest):
            tally.wrong_with("erased", f"{pin.digest} was erased")
            return tally.check(pin.kind, pin.role, pin.name, pin.digest)
        look: Callable[[str, Pin, Tally], str] = getattr(self, f"_check_{pin.kind}")
        detail = look(project, pin, tally)
        return tally.check(pin.kind, pin.role, pin.name, pin.digest, detail, hosted=detail == _HOSTED)

    def _manifest(self, project: str, release: str) -> dict[str, Any] | None:
        tally = Tally()
        data = self._document(project, release, "the manifest", tally)
        return data if not tally.wrong else None

    # -- bytes --------------------------------------------------------------------------------------------------

    def _erased(self, project: str, digest: str) -> bool:
        try:
            return self._registry.artifact(project, digest).erased_at is not None
        except ArtifactNotFound:
            return False

    def _bytes(self, project: str, digest: str, what: str, tally: Tally) -> bool:
        """Hash stored bytes as a stream; tell whether they are those of the digest."""
        whole, size = hashlib.sha256(), 0
        try:
            with self._registry.open(project, digest) as source:
                while chunk := source.read(_CHUNK):
                    whole.update(chunk)
                    size += len(chunk)
        except NotFound:
            tally.wrong_with(
                "erased" if self._erased(project, digest) else "missing", f"{what} ({digest}) is not there"
            )
            return False
        tally.read(size)
        found = f"sha256:{whole.hexdigest()}"
        if found != digest:
            tally.wrong_with("differs", f"the bytes of {what} have the digest {found}, not {digest}")
        return found == digest

    def _document(self, project: str, digest: str, what: str, tally: Tally) -> dict[str, Any] | None:
        if not self._bytes(project, digest, what, tally):
            return None
        try:
            with self._registry.open(project, digest) as source:
                data = source.read()
            if digest_bytes(data) != digest:
                raise ArtifactNotFound(f"{what} changed while it was read")
            value = parse_json(data, where=what)
        except TetradError as error:
            tally.wrong_with("differs", f"{what} cannot be read: {error.message}")
            return None
        if not isinstance(value, dict):
            tally.wrong_with("differs", f"{what} is no JSON object")
            return None
        return value

    # -- parts --------------------------------------------------------------------------------------------------

    def _check_manifest(self, project: str, pin: Pin, tally: Tally) -> str:
        self._document(project, pin.digest, "the manifest", tally)
        return ""

    def _check_code(self, project: str, pin: Pin, tally: Tally) -> str:
        document = self._document(project, pin.digest, "the list of files", tally)
        if document is None:
            return ""
        files = [CodeFile(**file) for file in document["files"]]
        for file in files:
            self._bytes(project, file.digest, f"the file {file.path!r}", tally)
        _same(tally, "the tree", tree_digest(files), pin.said.get("tree"))
        _same(tally, "the patch", document.get("patch"), pin.said.get("patch"))
        _same(tally, "the lock file", document.get("lock"), pin.said.get("lock"))
        if pin.said.get("patch"):
            self._bytes(project, pin.said["patch"], "the patch", tally)
        lock = pin.said.get("lock")
        if lock and lock not in {file.digest for file in files}:
            tally.wrong_with("differs", f"the lock file {lock} is none of the files")
        return f"{len(files)} files"

    def _check_data(self, project: str, pin: Pin, tally: Tally) -> str:
        try:
            version = self._datasets.by_digest(project, pin.digest, pin.said["order"])
        except DatasetNotFound as error:
            tally.wrong_with("missing", error.message)
            return ""
        found = self._datasets.recount(version)
        tally.read(found.bytes, found.rows)
        for key in found.missing:
            tally.wrong_with("missing", f"the row {key!r} is not there")
        for key in found.damaged:
            tally.wrong_with("differs", f"the row {key!r} is not what its digest says")
        _same(tally, "the digest of the rows", found.digest, pin.digest)
        _same(tally, "the digest of their order", found.order, pin.said["order"])
        _same(tally, "the digest of their schema", found.schema_digest, pin.said["schema"])
        _same(tally, "the number of rows", found.rows, pin.said["rows"])
        return f"{found.rows} rows"

    def _check_model(self, project: str, pin: Pin, tally: Tally) -> str:
        try:
            record = self._models.get(project, pin.digest)
        except ModelNotFound as error:
            tally.wrong_with("missing", error.message)
            return ""
        if record.kind == "provider":
            self._document(project, pin.digest, "the name of the hosted model", tally)
            may = "" if record.immutable else " and may change what answers under the name"
            tally.wrong_with("cannot", f"{record.provider} hosts {record.provider_model!r}{may}")
            return _HOSTED
        for file in record.files:
            self._bytes(project, file.digest, f"the weights {file.path!r}", tally)
        if len(record.files) > 1:
            self._document(project, pin.digest, "the list of weights", tally)
        _same(tally, "the digest of the weights", weights_digest(record.files), pin.digest)
        return f"{len(record.files)} {'file' if len(record.files) == 1 else 'files'} of weights"

    def _check_prompt(self, project: str, pin: Pin, tally: Tally) -> str:
        closure: Sequence[str] = pin.said["closure"]
        self._document(project, pin.digest, "the prompt", tally)
        for digest in closure:
            self._document(project, digest, "an included prompt", tally)
        if tally.wrong:
            return ""
        try:
            prompt = self._prompts.get(project, pin.digest, pin.name)
        except TetradError as error:
            tally.wrong_with("differs", f"it cannot be put together: {error.message}")
            return ""
        _same(tally, "the contract", prompt.contract, pin.said["contract"])
        _same(tally, "what it includes", sorted(prompt.closure), list(closure))
        return f"{len(closure)} included" if closure else ""

    def _check_evidence(self, project: str, pin: Pin, tally: Tally) -> str:
        assert self._evidence is not None  # noqa: S101 - pins() names it only then
        before: str | None = None
        seen = 0
        while seen < MAX_EVIDENCE:
            page = self._evidence.find(project, subject=Digest(pin.digest), limit=_PAGE, before=before)
            for judged in page:
                seen += 1
                tally.read(len(judged.row.envelope))
                if judged.key is None:  # what was revoked or has expired is whole, and was signed
                    tally.wrong_with("differs", f"the statement {judged.row.digest}: {judged.problem}")
            if len(page) < _PAGE:
                return f"{seen} statements"
            before = page[-1].row.seq
        return f"the newest {seen} statements"


def _same(tally: Tally, what: str, found: object, said: object) -> None:
    if found != said:
        tally.wrong_with("differs", f"{what} is {found}, the manifest says {said}")
