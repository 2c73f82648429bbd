"""Logs are one JSON object a line, hold no secrets, and never take the process down."""

from __future__ import annotations

import io
import json
import logging
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tetrad.kit.logs import (
    MAX_MESSAGE,
    MOST_SECRETS,
    ConsoleLines,
    JsonLines,
    forget_secrets,
    log_to_stderr,
    redact,
    register_secret,
)

KEY = "tetrad_data_4fJk29sLq0aZ81mWc7Yx3Bv5Nh6Tg2Re9Qd0Pu1Oi7"


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    before = root.handlers[:], root.level, sys.excepthook, threading.excepthook
    yield
    for handler in set(root.handlers) - set(before[0]):
        handler.close()
    root.handlers[:], sys.excepthook, threading.excepthook = before[0], before[2], before[3]
    root.setLevel(before[1])
    forget_secrets()


@pytest.fixture
def lines() -> Iterator[Any]:
    """Log to memory; return what reads the lines back."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines("test"))
    logger = logging.getLogger("tetrad.test")
    logger.addHandler(handler)
    logger.propagate = False
    logger.setLevel(logging.DEBUG)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    logger.removeHandler(handler)
    logger.propagate = True


log = logging.getLogger("tetrad.test")


def test_a_line_tells_time_level_process_logger_message_and_fields(lines: Any) -> None:
    log.warning("engine %s is ready", "e1", extra={"engine": "e1", "took_s": 1.5, "ok": True, "sizes": [1, 2]})
    (line,) = lines()
    assert line.pop("time").endswith("Z")
    assert line == {
        "level": "warning",
        "process": "test",
        "logger": "tetrad.test",
        "message": "engine e1 is ready",
        "engine": "e1",
        "took_s": 1.5,
        "ok": True,
        "sizes": "[1,2]",
    }


def test_a_message_over_several_lines_stays_one_line(lines: Any) -> None:
    log.info('first\nsecond\r\n{"json": 1}')
    try:
        raise ValueError("bad\nvalue")
    except ValueError:
        log.exception("it failed")
    first, second = lines()
    assert first["message"].startswith("first\nsecond")
    assert "ValueError: bad\nvalue" in second["error"]


@pytest.mark.parametrize(
    "secret",
    [
        KEY,
        "Authorization: Bearer abcdefghijklmnop",
        "postgresql://tetrad:hunter2hunter2@db/tetrad",
        "sk-proj-abcdefghijklmnopqrstuvwx",
        "sk-ant-api03-abcdefghijklmnop",
        "ghp_abcdefghijklmnopqrstuvwxyz0123",
        'api_key="abcdefgh12345678"',
        "x-api-key: abcdefgh12345678",
        '{"password": "correct horse"}',
    ],
)
def test_what_looks_like_a_secret_is_blotted_out(lines: Any, secret: str) -> None:
    log.info("calling with %s now", secret)
    (line,) = lines()
    assert "[redacted]" in line["message"]
    for part in ("hunter2", "abcdefgh", "4fJk29sLq0", "correct"):
        assert part not in line["message"]
    assert line["message"].startswith("calling with ")


@pytest.mark.parametrize(
    "text",
    [
        "the metric tetrad_gateway_requests_total rose",
        "GET https://example.org/path?x=1#frag",
        "digest sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "wrote 12 tokens: 3 of 4",
        "2026-11-23T03:51:54.123Z at 127.0.0.1:8400",
    ],
)
def test_what_is_no_secret_is_left_as_it_is(text: str) -> None:
    assert redact(text) == text


def test_registered_secrets_are_blotted_out_everywhere(lines: Any) -> None:
    register_secret("s3cr3t-value", "s3cr3t-value-longer", "abc")
    try:
        raise RuntimeError("refused s3cr3t-value-longer")
    except RuntimeError:
        log.exception("with s3cr3t-value", extra={"detail": {"deep": "s3cr3t-value"}, "note": "abc"})
    (line,) = lines()
    assert "s3cr3t" not in json.dumps(line)
    assert "-longer" not in line["error"]
    assert line["note"] == "abc"


def test_of_very_many_secrets_the_newest_are_known() -> None:
    for number in range(MOST_SECRETS + 10):
        register_secret(f"secret-number-{number}-")
    assert redact(f"secret-number-{MOST_SECRETS + 9}-") == "[redacted]"
    assert redact("secret-number-9-") == "secret-number-9-"


def test_fields_whose_name_says_secret_are_covered(lines: Any) -> None:
    log.info("x", extra={"api_key": "plainvalue", "password": "p", "tokens": 5, "client_secret": "q", "monkey": "m"})
    (line,) = lines()
    assert (line["api_key"], line["password"], line["client_secret"]) == ("[redacted]",) * 3
    assert (line["tokens"], line["monkey"]) == (5, "m")


def test_everything_has_a_limit(lines: Any) -> None:
    log.info("x" * (MAX_MESSAGE + 5), extra={f"field{number}": number for number in range(100)})
    (line,) = lines()
    assert line["message"].endswith("… (5 more characters)")
    assert line["more_fields"] is True
    assert len(line) < 60


def test_a_broken_call_or_value_never_loses_the_line(lines: Any) -> None:
    class Hostile:
        def __str__(self) -> str:
            raise RuntimeError("no")

    broken = logging.makeLogRecord({"msg": "two %s %s", "args": ("only one",)})
    assert "two %s %s" in json.loads(JsonLines("test").format(broken))["message"]
    log.info("x", extra={"hostile": Hostile(), "bytes": b"\xff"})
    (second,) = lines()
    assert second["hostile"] == "<Hostile: RuntimeError>"


def test_people_get_short_lines_in_colour(lines: Any) -> None:
    record = logging.makeLogRecord({"msg": f"key {KEY}", "levelno": 40, "levelname": "ERROR", "engine": "e1"})
    plain = ConsoleLines("gateway", colour=False).format(record)
    assert plain.endswith("gateway error   key tetrad_data_[redacted]  engine=e1")
    assert "\x1b[31m" in ConsoleLines("gateway").format(record)


def test_other_peoples_loggers_come_here_and_are_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    logging.getLogger("uvicorn").addHandler(logging.StreamHandler())
    log_to_stderr("control", "debug")
    logging.getLogger("uvicorn.access").info("GET /")
    logging.getLogger("uvicorn.error").warning("odd request")
    logging.getLogger("tetrad.any").debug("detail")
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line["message"] for line in lines] == ["odd request", "detail"]


def test_errors_that_nobody_caught_are_logged(capsys: pytest.CaptureFixture[str]) -> None:
    log_to_stderr("worker", "info")

    def fail() -> None:
        raise ValueError(f"lost {KEY}")

    thread = threading.Thread(target=fail, name="background")
    thread.start()
    thread.join()
    try:
        fail()
    except ValueError as error:
        sys.excepthook(ValueError, error, error.__traceback__)
    first, second = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert first["message"] == "uncaught ValueError in thread background: lost tetrad_data_[redacted]"
    assert second["level"] == "critical"
    assert KEY not in json.dumps([first, second])


def test_logging_is_cheap() -> None:
    logger = logging.getLogger("tetrad.cheap")
    handler = logging.StreamHandler(io.StringIO())
    handler.setFormatter(JsonLines("x"))
    logger.handlers[:] = [handler]
    logger.propagate = False
    logger.setLevel(logging.INFO)
    begun = time.perf_counter()
    for number in range(2000):
        logger.info("request %d took %.1f ms", number, 1.5, extra={"route": "chat"})
    each_us = (time.perf_counter() - begun) / 2000 * 1e6
    logger.handlers.clear()
    assert each_us < 500
