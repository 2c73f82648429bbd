"""Code's part of the API, below `/api/v1/projects/{project}`."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Response
from pydantic import BaseModel

from tetrad.code._model import CodeSnapshot
from tetrad.code._service import Code
from tetrad.code._upload import CodeBody, unpack_code
from tetrad.kit.http import CurrentPrincipal, requires

Project = Annotated[str, Path(max_length=63)]
DigestPath = Annotated[str, Path(max_length=71, description="`sha256:` and 64 hex digits")]


class CodeFileView(BaseModel):
    """One file of a snapshot."""

    path: str
    digest: str
    executable: bool
    size: int


class CodeView(BaseModel):
    """A snapshot of code. `tree` is what a running program announces; `patch` holds what was not committed."""

    digest: str
    tree: str
    commit: str
    git_tree: str
    dirty: bool
    patch: str | None
    lock: str | None
    runtime: dict[str, str]
    size: int
    files: list[CodeFileView]

    @classmethod
    def of(cls, code: CodeSnapshot) -> CodeView:
        return cls(
            digest=code.digest,
            tree=code.tree,
            commit=code.commit,
            git_tree=code.git_tree,
            dirty=code.dirty,
            patch=code.patch,
            lock=code.lock,
            runtime=dict(code.runtime),
            size=code.size,
            files=[
                CodeFileView(path=file.path, digest=file.digest, executable=file.executable, size=file.size)
                for file in code.files
            ],
        )


def router(code: Code) -> APIRouter:
    """Return the routes; they bring their prefix with them."""
    routes = APIRouter(prefix="/api/v1/projects/{project}", tags=["code"], dependencies=[requires("control")])

    @routes.post("/code", operation_id="snapshot_code", status_code=201)
    def snapshot_code(project: Project, body: CodeBody, actor: CurrentPrincipal) -> CodeView:
        """Keep a folder's code: the same files and facts are the same snapshot, however often they are sent."""
        source, git = unpack_code(body, code.limits)
        return CodeView.of(code.snapshot(project, source, actor=actor, git=git, lock=body.lock, runtime=body.runtime))

    @routes.get("/code/{digest}", operation_id="get_code")
    def get_code(project: Project, digest: DigestPath) -> CodeView:
        """Show a snapshot of code: its files, its commit, its lock file."""
        return CodeView.of(code.get(project, digest))

    @routes.get(
        "/code/{digest}/files/{path:path}",
        operation_id="get_code_file",
        response_class=Response,
        responses={200: {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}}},
    )
    def get_code_file(project: Project, digest: DigestPath, path: Annotated[str, Path(max_length=1024)]) -> Response:
        """Return one file of a snapshot. It is never served as something that a browser would run."""
        return Response(
            code.read_file(project, digest, path),
            media_type="application/octet-stream",
            headers={"content-disposition": "attachment", "x-content-type-options": "nosniff"},
        )

    return routes
