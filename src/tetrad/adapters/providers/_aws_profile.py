"""The credential of a profile in `~/.aws`: keys, a role by way of another profile, a program's answer, a sign-in.

Source: "AWS SDKs and Tools Reference Guide" (docs.aws.amazon.com/sdkref: assume role and process credential providers).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import signal
from collections.abc import Awaitable, Callable, Mapping

import msgspec

from tetrad.adapters.providers._aws import AwsCredential
from tetrad.adapters.providers._aws_files import AwsFiles, Section, read_files
from tetrad.adapters.providers._aws_sso import AwsSignIns
from tetrad.adapters.providers._aws_sts import Sts, timed_credential
from tetrad.adapters.providers._identity import (
    MAX_ANSWER,
    Cloud,
    Ended,
    NoIdentity,
    is_word,
    unread,
)
from tetrad.kernel import UNREADABLE, Clock

MAX_ROLES = 8
"""So many profiles may stand behind each other."""
REREAD_NS = 900 * 10**9
"""What a file says holds this long, since tools write new keys into it."""
PROGRAM_S = 30.0
Fetch = Callable[[], Awaitable[Ended[AwsCredential]]]


class _Said(msgspec.Struct, frozen=True):
    """What a program prints."""

    Version: int
    AccessKeyId: str
    SecretAccessKey: str
    SessionToken: str = ""
    Expiration: str = ""


class AwsProfiles:
    """Finds the credential of a profile; the files are read anew each time. `places` are for `credential_source`."""

    def __init__(
        self, cloud: Cloud, clock: Clock, region: str, environ: Mapping[str, str], places: Mapping[str, Fetch]
    ) -> None:
        self._cloud, self._clock, self._region, self._environ = cloud, clock, region, environ
        self._places = places
        self._sign_ins = AwsSignIns(cloud, clock, environ)

    async def fetch(self, name: str) -> Ended[AwsCredential] | None:
        """Return the credential of a profile and when it ends; raises `NoIdentity`.

        Without a name it is that of `default`, None where that has none: it often holds nothing but a region.
        """
        files = await read_files(self._environ, needed=bool(name))
        if not name:
            return await self._of(files, "default", ()) if "default" in files.profiles else None
        found = await self._of(files, name, ())
        if found is None:
            raise _empty(name)
        return found

    async def _of(self, files: AwsFiles, name: str, before: tuple[str, ...]) -> Ended[AwsCredential] | None:
        profile = files.profiles.get(name)
        if profile is None:
            raise NoIdentity(
                f"there is no AWS profile {name[:64]!r}",
                hint="check AWS_PROFILE, the option profile or source_profile, and ~/.aws of the gateway's user",
            )
        if before[-1:] == (name,):  # a role whose profile has the keys as well
            return self._keys(profile, name)
        if name in before or len(before) >= MAX_ROLES:
            raise NoIdentity(
                f"the AWS profile {name[:64]!r} is behind itself, or behind more than {MAX_ROLES} others",
                hint="let source_profile end in a profile with a credential of its own",
            )
        if role := profile.get("role_arn"):
            return await self._role(files, name, profile, role, before)
        if profile.get("sso_session") or profile.get("sso_start_url"):
            session = profile.get("sso_session", "")
            said = {**profile, **files.sessions.get(session, {})} if session else profile
            return await self._sign_ins.credential(said, session, name)
        if profile.get("aws_access_key_id") or profile.get("aws_secret_access_key"):
            return self._keys(profile, name)
        if command := profile.get("credential_process"):
            return await self._program(command, name)
        return None

    def _keys(self, profile: Section, name: str) -> Ended[AwsCredential]:
        key, secret, token = (
            profile.get(f"aws_{each}", "") for each in ("access_key_id", "secret_access_key", "session_token")
        )
        if not (is_word(key) and is_word(secret) and (not token or is_word(token))):
            raise NoIdentity(
                f"the AWS profile {name[:64]!r} has no pair of keys",
                hint="aws_access_key_id and aws_secret_access_key, both or none",
            )
        return AwsCredential(key, secret, token), self._clock.now_ns() + REREAD_NS

    async def _role(
        self, files: AwsFiles, name: str, profile: Section, role: str, before: tuple[str, ...]
    ) -> Ended[AwsCredential]:
        if profile.get("mfa_serial"):
            raise NoIdentity(
                f"the AWS profile {name[:64]!r} asks a person for a code (mfa_serial)",
                hint="let the gateway have a role without that, or a credential_process",
            )
        sts = Sts(self._cloud, self._clock, profile.get("region") or self._region, self._environ)
        session = profile.get("role_session_name", "")
        if file := profile.get("web_identity_token_file"):
            return await sts.web_identity(role, session, file, "web_identity_token_file of its AWS profile")
        source, place = profile.get("source_profile", ""), profile.get("credential_source", "")
        if bool(source) == bool(place):
            raise NoIdentity(
                f"the AWS profile {name[:64]!r} has a role_arn, and does not say by whose credential",
                hint="either source_profile or credential_source",
            )
        if source:
            found = await self._of(files, source, (*before, name))
            if found is None:
                raise _empty(source)
        elif place in self._places:
            found = await self._places[place]()
        else:
            raise NoIdentity(
                f"the AWS profile {name[:64]!r} has a credential_source that is none",
                hint=f"one of {', '.join(self._places)}",
            )
        return await sts.assume(
            found[0], role, session, profile.get("external_id", ""), profile.get("duration_seconds", "")
        )

    async def _program(self, command: str, name: str) -> Ended[AwsCredential]:
        what = f"the credential_process of the AWS profile {name[:64]!r}"
        try:
            argv = shlex.split(command)
        except ValueError:
            argv = []
        if not argv:
            raise NoIdentity(f"{what} is no command", hint="close its quotes; no shell reads it")
        environ = {key: value for key, value in self._environ.items() if not key.startswith("TETRAD_")}
        try:
            said = msgspec.json.decode(await _output(argv, environ, what), type=_Said)
        except UNREADABLE:
            raise unread(what) from None
        if said.Version != 1:
            raise unread(what)
        if said.Expiration:
            return timed_credential(
                said.AccessKeyId, said.SecretAccessKey, said.SessionToken, said.Expiration, what=what
            )
        words = {"aws_access_key_id": said.AccessKeyId, "aws_secret_access_key": said.SecretAccessKey}
        return self._keys({**words, "aws_session_token": said.SessionToken}, name)


async def _output(argv: list[str], environ: Mapping[str, str], what: str) -> bytes:
    """Return what a program prints, which is ended with all that it started when it takes too long or says too much."""
    try:
        program = await asyncio.create_subprocess_exec(
            *argv, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
            env=environ, start_new_session=True,
        )  # fmt: skip
    except (OSError, ValueError):
        raise NoIdentity(f"{what} cannot be started", hint="check its path, and that the gateway may run it") from None
    try:
        async with asyncio.timeout(PROGRAM_S):
            out = await _bounded(program, what)
            code = await program.wait()
    except TimeoutError:
        raise NoIdentity(
            f"{what} takes longer than {PROGRAM_S:g} s", hint="run it by hand; it must ask nobody"
        ) from None
    finally:
        if program.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(program.pid, signal.SIGKILL)
            await program.wait()
    if code:
        # what it says of itself is not told: it may hold what it was to keep
        raise NoIdentity(f"{what} ended with {code}", hint="run it by hand as the gateway's user, and see what it says")
    return out


async def _bounded(program: asyncio.subprocess.Process, what: str) -> bytes:
    out = bytearray()
    while program.stdout is not None and (part := await program.stdout.read(MAX_ANSWER)):
        out += part
        if len(out) > MAX_ANSWER:
            raise unread(what)
    return bytes(out)


def _empty(name: str) -> NoIdentity:
    return NoIdentity(
        f"the AWS profile {name[:64]!r} has no credential",
        hint="give it keys, a role_arn, a credential_process or a sign-in; or unset AWS_PROFILE",
    )
