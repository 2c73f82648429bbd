"""What the API takes and shows of identity."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from tetrad.identity._chain import AuditCheck, AuditEntry
from tetrad.identity._model import ApiKey, ContentPolicy, IssuedKey, KeyState, Person, Project, Role, SecretInfo, Team
from tetrad.kernel import Principal

Title = Annotated[str, Field(min_length=1, max_length=100)]


class Strict(BaseModel):
    """A body whose misspelt fields are refused, not ignored."""

    model_config = ConfigDict(extra="forbid")


class ProjectBody(Strict):
    name: Annotated[str, Field(min_length=1, max_length=63, description="a-z, 0-9 and -; it never changes")]
    title: Annotated[str, Field(max_length=100)] = ""


Patterns = Annotated[
    list[Annotated[str, Field(max_length=200)]],
    Field(max_length=100, description="Of what may be named as `model`, such as openai/gpt-*; empty: everything"),
]
Labels = Annotated[dict[str, Annotated[str, Field(max_length=256)]], Field(max_length=32)]


class KeyBody(Strict):
    name: Title
    scopes: Annotated[list[str], Field(min_length=1, max_length=8)]
    expires_at: datetime | None = None
    content: ContentPolicy = "full"
    read_only: bool = False
    team: Annotated[str, Field(max_length=63)] | None = None
    models: Patterns | None = None
    labels: Labels | None = None


class KeyChangeBody(Strict):
    """What is null stays as it is."""

    team: Annotated[str | None, Field(max_length=63, description="Empty: none")] = None
    models: Patterns | None = None
    labels: Labels | None = None


class TeamBody(Strict):
    title: Annotated[str, Field(max_length=100)] = ""
    models: Patterns = []
    labels: Labels = {}


class TeamView(TeamBody):
    """A team of a project."""

    name: str
    created_at: datetime
    created_by: str

    @classmethod
    def of(cls, team: Team) -> TeamView:
        return cls(
            name=team.name, title=team.title, models=list(team.models), labels=dict(team.labels),
            created_at=team.created_at, created_by=team.created_by,
        )  # fmt: skip


class TeamMemberView(BaseModel):
    email: str
    name: str

    @classmethod
    def of(cls, person: Person) -> TeamMemberView:
        return cls(email=person.email, name=person.name)


class RotationBody(Strict):
    grace_s: Annotated[
        float | None, Field(ge=0, le=30 * 86400, description="How long the old secret works on; null: as configured")
    ] = None


class SecretBody(Strict):
    value: Annotated[str, Field(min_length=1, max_length=16 * 1024, repr=False)]


class RoleBody(Strict):
    role: Role


class SignInBody(Strict):
    token: Annotated[str, Field(min_length=1, max_length=200, repr=False)]


class SignInLinkBody(Strict):
    email: Annotated[str, Field(max_length=254, description="Empty: the administrator of this installation")] = ""
    name: Annotated[str, Field(max_length=100)] = ""
    role: Role | None = None
    project: Annotated[str | None, Field(max_length=63, description="Null: all projects")] = None


class ProjectView(BaseModel):
    name: str
    title: str
    created_at: datetime

    @classmethod
    def of(cls, project: Project) -> ProjectView:
        return cls(name=project.name, title=project.title, created_at=project.created_at)


class OwnProjectView(ProjectView):
    """A project and what who calls may do in it: somebody's role there may be another than elsewhere."""

    scopes: list[str]
    read_only: bool

    @classmethod
    def seen_by(cls, project: Project, actor: Principal) -> OwnProjectView:
        return cls(**dict(ProjectView.of(project)), scopes=sorted(actor.scopes), read_only=actor.read_only)


class PrincipalView(BaseModel):
    id: str
    name: str
    kind: str


class SessionView(BaseModel):
    """Who calls, what they may do outside of projects, and in which of these what."""

    principal: PrincipalView
    scopes: list[str]
    read_only: bool
    everywhere: bool = Field(description="Whether the scopes hold for the whole installation, not for some projects")
    projects: list[OwnProjectView]
    version: str
    expires_at: datetime | None

    @classmethod
    def of(
        cls, actor: Principal, projects: list[tuple[Project, Principal]], version: str, expires_at: datetime | None
    ) -> SessionView:
        return cls(
            principal=PrincipalView(id=actor.id, name=actor.name, kind=actor.kind),
            scopes=sorted(actor.scopes),
            read_only=actor.read_only,
            everywhere=actor.projects is None,
            projects=[OwnProjectView.seen_by(project, there) for project, there in projects],
            version=version,
            expires_at=expires_at,
        )


class KeyView(BaseModel):
    """A key without its secret; `ending` are the secret's last characters, to tell keys apart."""

    id: str
    project: str | None
    name: str
    scopes: list[str]
    state: KeyState
    content: ContentPolicy
    read_only: bool
    ending: str
    created_at: datetime
    created_by: str
    expires_at: datetime | None
    rotated_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None
    team: str
    models: list[str]
    labels: dict[str, str]

    @classmethod
    def of(cls, key: ApiKey, now: datetime) -> KeyView:
        fields = {name: getattr(key, name) for name in cls.model_fields if name not in ("state", "scopes", "models")}
        return cls(**fields, scopes=list(key.scopes), models=list(key.models), state=key.state(now))


class IssuedKeyView(BaseModel):
    """A key and its secret: the one time that it is shown."""

    key: KeyView
    secret: str = Field(repr=False)
    file: str | None = Field(default=None, description="The key file of this machine that now holds the secret")

    @classmethod
    def of(cls, issued: IssuedKey, now: datetime, file: str | None = None) -> IssuedKeyView:
        return cls(key=KeyView.of(issued.key, now), secret=issued.secret, file=file)


class SecretView(BaseModel):
    """A secret without its value, which no route returns."""

    project: str
    name: str
    version: int
    created_at: datetime
    updated_at: datetime
    updated_by: str

    @classmethod
    def of(cls, info: SecretInfo) -> SecretView:
        return cls(**{name: getattr(info, name) for name in cls.model_fields})


class MemberView(BaseModel):
    id: str
    email: str
    name: str
    role: Role

    @classmethod
    def of(cls, person: Person, role: Role) -> MemberView:
        return cls(id=person.id, email=person.email, name=person.name, role=role)


class SignInLinkView(BaseModel):
    url: str
    expires_at: datetime


class AuditView(BaseModel):
    """An entry of the audit log, with its place in the chain."""

    seq: int
    at: datetime
    actor: str
    action: str
    target: str
    detail: dict[str, Any]
    previous: str
    hash: str

    @classmethod
    def of(cls, entry: AuditEntry) -> AuditView:
        event = entry.event
        return cls(
            seq=entry.seq,
            at=event.at,
            actor=event.actor,
            action=event.action,
            target=event.target,
            detail=dict(event.detail),
            previous=entry.previous,
            hash=entry.hash,
        )


class AuditCheckView(BaseModel):
    """Whether a chain is as it was written; note `head` elsewhere to prove it later."""

    entries: int
    intact: bool
    head: str
    broken_at: int | None
    reason: str

    @classmethod
    def of(cls, found: AuditCheck) -> AuditCheckView:
        return cls(**{name: getattr(found, name) for name in cls.model_fields})
