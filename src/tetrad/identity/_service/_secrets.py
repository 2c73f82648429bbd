"""Provider secrets: sealed at rest, opened for the route table only."""

from __future__ import annotations

import builtins

from tetrad.identity._model import MAX_SECRET_BYTES, SecretInfo, check_secret_name
from tetrad.identity._service._context import Context, existing_project
from tetrad.identity.errors import BadName, LimitReached, SecretNotFound
from tetrad.kernel import Principal, canonical_json
from tetrad.kit.logs import register_secret
from tetrad.kit.seal import Keyring


class Secrets:
    """Named values of a project that nobody is shown again."""

    def __init__(self, context: Context, keyring: Keyring) -> None:
        self._context = context
        self._keyring = keyring

    def put(self, actor: Principal, project: str, name: str, value: str) -> SecretInfo:
        """Keep a value under a name, in place of the one before."""
        context, now = self._context, self._context.clock.now()
        check_secret_name(name)
        data = value.encode("utf-8", "surrogatepass")
        if not 1 <= len(data) <= MAX_SECRET_BYTES or "\x00" in value:
            raise BadName(
                f"the value of {name!r} has {len(data)} bytes or a zero byte",
                hint=f"1 to {MAX_SECRET_BYTES} bytes of text",
            )
        with context.store.write() as rows:
            existing_project(rows, project)
            before = rows.secret(project, name)
            if before is None and rows.count_secrets(project) >= context.policy.max_secrets:
                raise LimitReached(
                    f"{project!r} has {context.policy.max_secrets} secrets already",
                    hint="raise max_secrets_per_project",
                )
            version, created_at = (before[0].version + 1, before[0].created_at) if before else (1, now)
            info = SecretInfo(project, name, version, created_at, now, actor.id)
            rows.put_secret(info, self._keyring.seal(data, _purpose(project, name)))
            context.note(rows, actor, "secret.set", name, project, version=version)
        context.changed()
        return info

    def delete(self, actor: Principal, project: str, name: str) -> None:
        """Forget a value, or raise `SecretNotFound`."""
        with self._context.store.write() as rows:
            if not rows.delete_secret(project, name):
                raise _no_secret(project, name)
            self._context.note(rows, actor, "secret.deleted", name, project)
        self._context.changed()

    def list(self, project: str, *, after: str = "", limit: int = 50) -> list[SecretInfo]:
        """List what is kept, by name; never the values."""
        with self._context.store.read() as rows:
            return rows.secrets(project, after, limit)

    def get(self, project: str, name: str) -> SecretInfo:
        """Tell about one secret, or raise `SecretNotFound`."""
        with self._context.store.read() as rows:
            found = rows.secret(project, name)
        if found is None:
            raise _no_secret(project, name)
        return found[0]

    def reveal(self, project: str, name: str) -> str:
        """Return a value, for the route table. No route and no command may pass it on."""
        with self._context.store.read() as rows:
            found = rows.secret(project, name)
        if found is None:
            raise _no_secret(project, name)
        value = self._keyring.unseal(found[1], _purpose(project, name)).decode("utf-8", "surrogatepass")
        register_secret(value)
        return value

    def boxes(self) -> builtins.list[bytes]:
        """Return every sealed value as it is kept, to tell with which key."""
        with self._context.store.read() as rows:
            return [sealed for _, sealed in rows.sealed_secrets()]

    def reseal(self, actor: Principal) -> int:
        """Seal with the keyring's primary key what an older one sealed; return how many that were.

        What no key of the ring opens stays as it is: a key that is restored later still opens it.
        """
        with self._context.store.write() as rows:
            old: builtins.list[tuple[SecretInfo, bytes]] = [
                (info, sealed)
                for info, sealed in rows.sealed_secrets()
                if not self._keyring.is_current(sealed) and self._keyring.opens(sealed)
            ]
            for info, sealed in old:
                purpose = _purpose(info.project, info.name)
                rows.put_secret(info, self._keyring.seal(self._keyring.unseal(sealed, purpose), purpose))
            if old:
                self._context.note(rows, actor, "secrets.resealed", "", None, count=len(old))
        return len(old)


def _purpose(project: str, name: str) -> bytes:
    # Bound to its place: a sealed value that is moved to another project or name does not open there.
    return b"tetrad provider secret\x00" + canonical_json([project, name])


def _no_secret(project: str, name: str) -> SecretNotFound:
    return SecretNotFound(
        f"the project {project[:80]!r} has no secret {name[:130]!r}", hint="`tetrad secret list` shows what there is"
    )
