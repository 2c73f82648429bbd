"""Logs: one JSON object a line, secrets blotted out, bounded; for people on a terminal, short coloured lines.

A process calls `log_to_stderr` once and uses `logging` as everybody does; fields beside the message go by `extra`:
`log.info("engine ready", extra={"engine": name, "took_s": 1.2})`. The supervisor files and rotates what its children
write. Give `log_config=None` to uvicorn, so that its loggers come here.
"""

from __future__ import annotations

import logging
import re
import sys
import threading
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any

import msgspec

MAX_MESSAGE = 16_384
MAX_ERROR = 65_536
MAX_FIELDS = 40
SHORTEST_SECRET = 8
MOST_SECRETS = 2_000
COVER = "[redacted]"
_PATTERNS = re.compile(
    r"(tetrad_[a-z]+_)[A-Za-z0-9_-]{16,}"  # our keys
    r"|((?:Bearer|Basic)\s+)[A-Za-z0-9._~+/=-]{8,}"
    r"|(://[^/\s:@]*:)[^@\s/]+(?=@)"  # passwords in URLs
    r"|(\b(?:sk|pk|rk|gsk|xai|hf|ghp|gho|ghs|glpat|AKIA|ASIA|AIza)[-_]?)[A-Za-z0-9_-]{16,}"  # other people's keys
    r"|((?:api[-_]?key|authorization|password|passwd|secret|access[-_]?token|refresh[-_]?token|x-api-key)"
    r"""["']?\s*[:=]\s*["']?)(?!\[|Bearer|Basic)[^\s"',;&}]{4,}""",
    re.IGNORECASE,
)
_SECRET_FIELD = re.compile(
    r"(^|_)(password|passwd|secret|token|api_?key|authorization|cookie|credential)s?$", re.IGNORECASE
)
_QUIET = ("uvicorn", "httpx", "httpcore", "asyncio", "alembic", "dbos", "botocore", "urllib3")
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}
_encode = msgspec.json.Encoder(enc_hook=repr).encode


class _Secrets:
    """The values that this process knows to be secret."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._values: dict[str, None] = {}
        self._pattern: re.Pattern[str] | None = None

    def add(self, values: tuple[str, ...]) -> None:
        with self._lock:
            fresh = [value for value in values if len(value) >= SHORTEST_SECRET and value not in self._values]
            if not fresh:
                return
            self._values.update(dict.fromkeys(fresh))
            for oldest in list(self._values)[:-MOST_SECRETS]:
                del self._values[oldest]
            self._pattern = None

    def clear(self) -> None:
        with self._lock:
            self._values.clear()
            self._pattern = None

    def cover(self, text: str) -> str:
        with self._lock:
            if not self._values:
                return text
            if self._pattern is None:  # made when it is needed: secrets come in hundreds, log lines seldom in between
                longest_first = sorted(self._values, key=len, reverse=True)
                self._pattern = re.compile("|".join(map(re.escape, longest_first)))
            pattern = self._pattern
        return pattern.sub(COVER, text)


_secrets = _Secrets()


def register_secret(*values: str) -> None:
    """Blot these values out of everything that is logged from now on.

    Short ones are left, they would hide words. Of very many the newest `MOST_SECRETS` are known.
    """
    _secrets.add(values)


def forget_secrets() -> None:
    """Forget what was registered, for tests."""
    _secrets.clear()


def redact(text: str) -> str:
    """Blot out registered secrets, and what looks like a key, a credential header or a password in a URL."""
    return _PATTERNS.sub(_covered, _secrets.cover(text))


def _covered(found: re.Match[str]) -> str:
    return next(group for group in found.groups() if group is not None) + COVER


class JsonLines(logging.Formatter):
    """One JSON object a line: time, level, process, logger, message, the fields given as `extra`, error."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, Any] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "process": self._process,
            "logger": record.name,
            "message": _message(record),
        }
        for name, value in _fields(record).items():
            entry.setdefault(name, value)
        error = _error(self, record)
        if error:
            entry["error"] = error
        return _encode(entry).decode()


class ConsoleLines(logging.Formatter):
    """Short lines for people, with colours."""

    _COLOURS: Mapping[int, str] = {
        logging.DEBUG: "2",
        logging.WARNING: "33",
        logging.ERROR: "31",
        logging.CRITICAL: "1;31",
    }

    def __init__(self, process: str, *, colour: bool = True) -> None:
        super().__init__()
        self._process = process
        self._colour = colour

    def format(self, record: logging.LogRecord) -> str:
        fields = " ".join(f"{name}={value!s}" for name, value in _fields(record).items())
        clock = time.strftime("%H:%M:%S", time.localtime(record.created))
        line = f"{clock} {self._process} {record.levelname.lower():<7} {_message(record)}"
        if fields:
            line += self._painted("2", f"  {fields}")
        painted = self._painted(self._COLOURS.get(record.levelno, ""), line)
        error = _error(self, record)
        return f"{painted}\n{error}" if error else painted

    def _painted(self, code: str, text: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self._colour and code else text


def log_to_stderr(process: str, level: str) -> None:
    """Send all logging of this process, and errors that nobody caught, to standard error.

    JSON lines, except on a terminal. Other people's libraries say only what is wrong.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(ConsoleLines(process) if sys.stderr.isatty() else JsonLines(process))
    _install(handler, level)


def _install(handler: logging.Handler, level: str) -> None:
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level.upper())
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
    sys.excepthook = _uncaught
    threading.excepthook = _uncaught_in_thread


def _uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
        return
    logging.getLogger("tetrad").critical("uncaught %s: %s", kind.__name__, error, exc_info=(kind, error, trace))


def _uncaught_in_thread(args: threading.ExceptHookArgs) -> None:
    if args.exc_value is None or issubclass(args.exc_type, SystemExit):
        return
    name = args.thread.name if args.thread else "?"
    logging.getLogger("tetrad").critical(
        "uncaught %s in thread %s: %s",
        args.exc_type.__name__,
        name,
        args.exc_value,
        exc_info=(args.exc_type, args.exc_value, args.exc_traceback),
    )


def _time(record: logging.LogRecord) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z"


def _message(record: logging.LogRecord) -> str:
    try:
        message = record.getMessage()
    except (TypeError, ValueError) as error:
        message = f"{record.msg!r} with {record.args!r} ({error})"  # a broken log call must not lose the line
    return _bounded(redact(message), MAX_MESSAGE)


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in vars(record).items():
        if name in _STANDARD:
            continue
        if len(found) == MAX_FIELDS:
            found["more_fields"] = True
            break
        if value is None or isinstance(value, (bool, int, float)):
            found[name] = value
        else:
            found[name] = COVER if _SECRET_FIELD.search(name) else _bounded(redact(_text(value)), MAX_MESSAGE)
    return found


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    try:
        return _encode(value).decode() if isinstance(value, (dict, list, tuple)) else str(value)
    except Exception as error:  # noqa: BLE001 - whatever a stranger's __str__ does, the line is kept
        return f"<{type(value).__name__}: {type(error).__name__}>"


def _error(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    return _bounded(redact(formatter.formatException(record.exc_info)), MAX_ERROR) if record.exc_info else ""


def _bounded(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[:limit]}… ({len(text) - limit} more characters)"
