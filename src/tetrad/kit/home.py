"""The folder that one installation owns, and the settings that every process shares."""

from __future__ import annotations

import fcntl
import json
import os
import pwd
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from tetrad.kernel import Conflict, TetradError
from tetrad.kit.seal import Keyring, load_keyring, parse_keyring
from tetrad.kit.settings import BadSettings, Setting, Settings, SettingsTable

FORMAT = 1
_MIB = 1024 * 1024
_MEANT_IN_URLS = "?#%"
"""The home's path stands in URLs of databases and sockets; there these mean something else than a folder's name."""

HOME = Setting("home", Path, None, "Folder with everything this installation keeps (default ~/.tetrad).")
CACHE = Setting("cache", Path, None, "Folder for downloads that installations share (default ~/.cache/tetrad).")
HOST = Setting(
    "host", str, "127.0.0.1", "Address to listen on. Anything but loopback opens the product to the network."
)
GATEWAY_PORT = Setting("gateway_port", int, 8400, "Port of the data plane (/v1/…).", minimum=1, maximum=65535)
CONTROL_PORT = Setting("control_port", int, 8401, "Port of the console and the API.", minimum=1, maximum=65535)
CONTROL_URL = Setting("control_url", str, "", "Where control answers, for the CLI, gateways and workers elsewhere.")
API_KEY = Setting("api_key", str, "", "Key of the CLI; empty: the admin key of the home folder.", secret=True)
DATABASE_URL = Setting("database_url", str, "", "SQL database; empty: SQLite in the home folder.", secret=True)
TELEMETRY_URL = Setting("telemetry_url", str, "", "ClickHouse; empty: embedded chDB in the home folder.", secret=True)
BLOBS_URL = Setting(
    "blobs_url", str, "", "Blob store, such as s3://bucket/prefix; empty: the home folder.", secret=True
)
LOG_LEVEL = Setting(
    "log_level", str, "info", "Least severity that is logged.", choices=("debug", "info", "warning", "error")
)
SEAL_KEY = Setting(
    "seal_key",
    str,
    "",
    "Key that seals secrets (32 bytes in base64; older ones behind it, commas between); empty: keys/seal.key.",
    secret=True,
)
SEAL_KEY_FILE = Setting(
    "seal_key_file", Path, None, "File with the key that seals secrets, one per line, in place of keys/seal.key."
)
MIN_FREE_DISK_MB = Setting("min_free_disk_mb", int, 512, "Free disk, in MB, below which nothing starts.", minimum=0)

SETTINGS = SettingsTable(
    "Installation",
    (
        HOME,
        CACHE,
        HOST,
        GATEWAY_PORT,
        CONTROL_PORT,
        CONTROL_URL,
        API_KEY,
        DATABASE_URL,
        TELEMETRY_URL,
        BLOBS_URL,
        LOG_LEVEL,
        SEAL_KEY,
        SEAL_KEY_FILE,
        MIN_FREE_DISK_MB,
    ),
)


class HomeUnusable(TetradError):
    """The home folder cannot be used as it is."""

    code = "home_unusable"
    status = 500


class AlreadyRunning(Conflict):
    """Another supervisor holds this home folder."""

    code = "already_running"


@dataclass(frozen=True, slots=True)
class Home:
    """Where an installation keeps what."""

    root: Path

    @classmethod
    def of(cls, settings: Settings) -> Home:
        """Return the home that the settings name."""
        return cls(settings[HOME.name] or user_folder(HOME) / ".tetrad")

    @property
    def run(self) -> Path:
        """Locks, sockets and the supervisor's state."""
        return self.root / "run"

    @property
    def keys(self) -> Path:
        """Secrets of this machine, one 0600 file each."""
        return self.root / "keys"

    def seal_key(self, settings: Settings) -> Path:
        """The file with the key that seals; it need not be there where the key is in the environment."""
        named: Path | None = settings[SEAL_KEY_FILE.name]
        return named or self.keys / "seal.key"

    def keyring(self, settings: Settings, *, create: bool) -> Keyring:
        """Return the ring that seals: of the settings, else of the file; made where it may be and there is none."""
        text, named = settings.get(SEAL_KEY), settings[SEAL_KEY_FILE.name]
        if text and named is not None:
            raise BadSettings(f"{SEAL_KEY.variable} and {SEAL_KEY_FILE.variable} are both set", hint="keep one of them")
        if text:
            return parse_keyring(text, where=SEAL_KEY.variable)
        return load_keyring(self.seal_key(settings), create=create and named is None)

    @property
    def blobs(self) -> Path:
        """The local blob store."""
        return self.root / "blobs"

    @property
    def telemetry(self) -> Path:
        """The embedded telemetry store."""
        return self.root / "telemetry"

    @property
    def spool(self) -> Path:
        """Spans that gateways have not shipped yet."""
        return self.root / "spool"

    @property
    def cache(self) -> Path:
        """Cached answers that the gateways of this machine share; may be deleted at any time."""
        return self.root / "cache"

    @property
    def engines(self) -> Path:
        """Calibrations and working files of engines."""
        return self.root / "engines"

    @property
    def logs(self) -> Path:
        """One log file per process."""
        return self.root / "logs"

    @property
    def route_table(self) -> Path:
        """The gateway's sealed copy of the route table."""
        return self.root / "gateway" / "route-table.sealed"

    def database_url(self, settings: Settings) -> str:
        """Return the configured SQL database, else SQLite in this folder."""
        return settings.get(DATABASE_URL) or f"sqlite:///{self.root / 'tetrad.db'}"

    def prepare(self, product_version: str, *, min_free_mb: int = 0) -> None:
        """Make the folder, or check the one that is there.

        Raises `HomeUnusable` when its path cannot be used, it cannot be written, belongs to a newer format, or its disk
        is full.
        """
        self._check_path()
        try:
            for folder in (self.root, self.run, self.keys, self.logs, self.root / "gateway"):
                folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self.keys.chmod(0o700)
            probe = self.run / f".probe-{os.getpid()}"
            probe.write_bytes(b"x")
            probe.unlink()
        except OSError as error:
            raise HomeUnusable(
                f"the home folder {str(self.root)!r} cannot be written: {error.strerror or error}",
                hint="correct its owner and permissions, or set TETRAD_HOME to a folder of yours",
            ) from None
        free_mb = shutil.disk_usage(self.root).free // _MIB
        if free_mb < min_free_mb:
            raise HomeUnusable(
                f"the disk of {str(self.root)!r} has {free_mb} MB left, {min_free_mb} MB are needed",
                hint="free some disk, move TETRAD_HOME, or lower TETRAD_MIN_FREE_DISK_MB",
            )
        self._check_format(product_version)

    def _check_path(self) -> None:
        path = str(self.root)
        try:
            path.encode()
        except UnicodeEncodeError:
            raise HomeUnusable(
                f"the path of the home folder {path!r} is no text in this locale ({sys.getfilesystemencoding()})",
                hint="set LANG=C.UTF-8, or set TETRAD_HOME to a folder with a plain name",
            ) from None
        unfit = sorted({one for one in path if one in _MEANT_IN_URLS or not one.isprintable()})
        if unfit:
            raise HomeUnusable(
                f"the path of the home folder {path!r} has {' and '.join(map(repr, unfit))} in it",
                hint="rename the folder, or set TETRAD_HOME to one whose path has no ? # % and no control characters",
            )

    def _check_format(self, product_version: str) -> None:
        marker = self.root / "HOME.json"
        try:
            found = json.loads(marker.read_text("utf-8"))
            format_, version = int(found["format"]), str(found["version"])
        except FileNotFoundError:
            self._mark(marker, product_version)
            return
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise HomeUnusable(
                f"{str(marker)!r} is damaged: {error}",
                hint="restore it from a backup, or set TETRAD_HOME to another folder",
            ) from None
        if format_ > FORMAT:
            raise HomeUnusable(
                f"the home folder {str(self.root)!r} was written by Tetrad {version} (format {format_}); "
                f"this is {product_version}, which reads format {FORMAT}",
                hint=f"install Tetrad {version} or newer, or set TETRAD_HOME to another folder",
            )
        if format_ < FORMAT:
            raise HomeUnusable(
                f"the home folder {str(self.root)!r} has the old format {format_}",
                hint="export what you need with the version that wrote it, or set TETRAD_HOME elsewhere",
            )
        if version != product_version:
            self._mark(marker, product_version)

    def _mark(self, marker: Path, product_version: str) -> None:
        write_private(marker, json.dumps({"format": FORMAT, "version": product_version}) + "\n")

    def lock(self) -> HomeLock:
        """Hold the home for one supervisor; raises `AlreadyRunning`, naming the process that has it."""
        path = self.run / "lock"
        handle = path.open("a+", encoding="utf-8")
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            handle.seek(0)
            holder = handle.read().strip() or "unknown"
            handle.close()
            raise AlreadyRunning(
                f"Tetrad already runs in {str(self.root)!r} (process {holder})",
                hint="`tetrad status` shows it, `tetrad down` stops it; a second one needs another home and ports",
            ) from None
        handle.truncate(0)
        handle.write(str(os.getpid()))
        handle.flush()
        return HomeLock(handle)


class HomeLock:
    """The hold on a home folder; ends with the process at the latest."""

    def __init__(self, handle: IO[str]) -> None:
        self._handle = handle

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._handle.close()


def write_private(path: Path, text: str | bytes) -> None:
    """Write a file that only its owner may read, whole or not at all."""
    data = text.encode() if isinstance(text, str) else text
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as handle:
            handle.write(data)
            handle.flush()
            os.fsync(handle.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def read_state(home: Home) -> dict[str, Any] | None:
    """Return what the supervisor last wrote about itself, None when there is nothing to read."""
    try:
        state = json.loads((home.run / "state.json").read_text("utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return state if isinstance(state, dict) else None


def cache_folder(settings: Settings) -> Path:
    """Return the folder for downloads that installations share."""
    return Path(settings[CACHE.name] or user_folder(CACHE) / ".cache" / "tetrad")


def user_folder(instead: Setting[Any]) -> Path:
    """Return the user's own folder: `HOME`, else what the system knows; else `HomeUnusable` names a setting to use.

    Services and containers run with neither: an account that is only a number, and no variable.
    """
    named = os.environ.get("HOME", "")
    try:
        found = Path(named or pwd.getpwuid(os.getuid()).pw_dir)
    except KeyError:
        found = Path()
    if not found.is_absolute():
        raise HomeUnusable(
            f"this account (number {os.getuid()}) has no folder of its own: HOME is {named!r}"
            if named
            else f"this account (number {os.getuid()}) has no folder of its own: HOME is not set",
            hint=f"set {instead.variable} to a folder that this account may write",
        )
    return found


def reachable_host(settings: Settings) -> str:
    """Return the host by which this machine reaches what listens at `host`; in brackets where it is IPv6."""
    host = settings.get(HOST)
    found = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - asked of, not listened on
    return f"[{found}]" if ":" in found else found


def control_address(settings: Settings) -> str:
    """Return the URL by which processes of this installation reach control."""
    return settings.get(CONTROL_URL) or f"http://{reachable_host(settings)}:{settings.get(CONTROL_PORT)}"
