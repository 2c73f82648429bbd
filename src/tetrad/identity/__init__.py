"""Who may do what: projects, API keys, people and their sessions, provider secrets, and the audit log."""

from tetrad.identity._chain import AuditCheck, AuditEntry, AuditEvent, AuditFilter, check_chain
from tetrad.identity._model import (
    DEFAULT_PROJECT,
    ApiKey,
    ContentPolicy,
    IssuedKey,
    KeyGrant,
    Person,
    Project,
    Role,
    SecretInfo,
    hash_secret,
    secret_is_well_formed,
)
from tetrad.identity._service import (
    FirstStart,
    Identity,
    IdentityPolicy,
    IssuedLink,
    MachineKeys,
    SignedIn,
    machine_keys,
    read_secret_file,
)

__all__ = [
    "DEFAULT_PROJECT",
    "ApiKey",
    "AuditCheck",
    "AuditEntry",
    "AuditEvent",
    "AuditFilter",
    "ContentPolicy",
    "FirstStart",
    "Identity",
    "IdentityPolicy",
    "IssuedKey",
    "IssuedLink",
    "KeyGrant",
    "MachineKeys",
    "Person",
    "Project",
    "Role",
    "SecretInfo",
    "SignedIn",
    "check_chain",
    "hash_secret",
    "machine_keys",
    "read_secret_file",
    "secret_is_well_formed",
]
