"""The control plane as an ASGI app: its routes, the console, and what guards them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

import tetrad
from tetrad.batches import body_limits
from tetrad.datasets import DATASET_FILES, MAX_UPLOAD_BYTES
from tetrad.kit.home import HOST
from tetrad.kit.http import PROBLEM_RESPONSES, GuardPolicy, Upload, add_routes, guard, serve_description
from tetrad.models._settings import MAX_FILE_BYTES, MODEL_FILES
from tetrad.processes.control._console import console_folder, mount_console, script_hashes
from tetrad.processes.control._services import Services


def build_app(services: Services) -> FastAPI:
    """Return the whole control plane as an ASGI app."""
    from tetrad.processes.control._routers import all_routers

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        yield
        await services.playground.close()

    app = FastAPI(
        title="Tetrad",
        version=tetrad.__version__,
        summary="Release engineering for LLM applications",
        openapi_url=None,  # see `serve_description`
        docs_url=None,
        redoc_url=None,
        responses=PROBLEM_RESPONSES,
        lifespan=lifespan,
    )
    add_routes(app, all_routers(services))
    serve_description(app)
    folder = console_folder()
    mount_console(app, folder)
    policy = GuardPolicy.from_settings(
        services.settings,
        host=services.settings.get(HOST),
        script_hashes=script_hashes(folder),
        uploads=[
            Upload(DATASET_FILES, services.settings.get(MAX_UPLOAD_BYTES), MAX_UPLOAD_BYTES.name),
            *(Upload(path, most, setting) for path, most, setting in body_limits(services.settings)),
            Upload(MODEL_FILES, services.settings.get(MAX_FILE_BYTES), MAX_FILE_BYTES.name, total_timeout_s=86_400.0),
        ],
    )
    guard(app, services.identity, policy, allow=("",))
    return app
