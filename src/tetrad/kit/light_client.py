"""Call the control plane's API by the standard library alone: for the command that must not wait for imports.

What it shares with `api_client` is here, since that one imports this and not the other way round.
"""

from __future__ import annotations

import http.client
import json
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from tetrad.kernel import TetradError, Unauthenticated, Unavailable
from tetrad.kit.home import API_KEY, Home
from tetrad.kit.home import SETTINGS as INSTALLATION
from tetrad.kit.running import running_control
from tetrad.kit.settings import Settings, load_settings

MAX_ANSWER_BYTES = 32 << 20
_TIMEOUT_S = 60.0


class ControlUnreachable(Unavailable):
    """Nobody answers at the control plane's address."""

    code = "control_unreachable"


class ApiError(TetradError):
    """The API refused; message, hint, code and status are the API's own. `errors` names fields that were wrong."""

    errors: tuple[tuple[str, str], ...] = ()


class LightClient:
    """Sends single requests, each over a connection of its own; no retries. Proxies of the environment are not used."""

    def __init__(self, base_url: str, key: str) -> None:
        self.base_url = base_url.rstrip("/")
        self._key = key

    @classmethod
    def from_environment(cls, settings: Settings | None = None) -> LightClient:
        """Return a client of this installation, as `ApiClient.from_environment` does."""
        chosen = settings or load_settings([INSTALLATION], partial=True)
        return cls(running_control(chosen), chosen.get(API_KEY) or key_of(chosen))

    def get(self, path: str, **params: str | float | None) -> Any:
        """GET a path; parameters that are None are left out."""
        given = {name: value for name, value in params.items() if value is not None}
        return self._send("GET", f"{path}?{urlencode(given)}" if given else path)

    def post(self, path: str, body: object = None) -> Any:
        """POST a JSON body."""
        return self._send("POST", path, json.dumps(body).encode())

    def _send(self, method: str, path: str, body: bytes = b"") -> Any:
        address = urlsplit(self.base_url)
        kind = http.client.HTTPSConnection if address.scheme == "https" else http.client.HTTPConnection
        headers = {"authorization": f"Bearer {self._key}", "accept": "application/json", "user-agent": "tetrad-cli"}
        if body:
            headers["content-type"] = "application/json"
        connection = kind(address.hostname or "", address.port, timeout=_TIMEOUT_S)
        try:
            try:
                connection.connect()
            except OSError as error:
                raise ControlUnreachable(
                    f"control does not answer at {self.base_url} ({error})",
                    hint="control is not running: run `tetrad up`, or set TETRAD_CONTROL_URL",
                ) from None
            connection.request(method, address.path + path, body or None, headers)
            answer = connection.getresponse()
            data = answer.read(MAX_ANSWER_BYTES)
        except (OSError, http.client.HTTPException) as error:
            raise ControlUnreachable(
                f"the answer of {self.base_url} broke off ({type(error).__name__})",
                hint="try again; `tetrad logs control` tells what happened there",
            ) from None
        finally:
            connection.close()
        if not 200 <= answer.status < 300:
            raise refusal(f"{self.base_url}{path}", answer.status, data, answer.headers.get("retry-after", ""))
        return json.loads(data) if data else None


def path_part(name: str) -> str:
    """Quote a name for use as one part of a path."""
    return quote(name, safe="")


def key_of(settings: Settings) -> str:
    """Return the admin key of the home folder."""
    path = Home.of(settings).keys / "admin.key"
    try:
        return path.read_text("ascii").strip()
    except FileNotFoundError:
        raise Unauthenticated(
            f"there is no key: TETRAD_API_KEY is not set and {str(path)!r} is missing",
            hint="the first `tetrad up` makes one; elsewhere set TETRAD_API_KEY",
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise Unauthenticated(f"{str(path)!r} cannot be read: {error}", hint="set TETRAD_API_KEY") from None


def refusal(url: str, status: int, body: bytes, retry_after: str = "") -> ApiError:
    """Return the error that an answer is, in the API's own words where it has any."""
    try:
        problem = json.loads(body)
        message, hint, code = str(problem["detail"]), str(problem.get("hint", "")), str(problem["code"])
    except (ValueError, KeyError, TypeError, AttributeError):
        problem, code = {}, "bad_answer"
        message = f"{url} answered {status} without saying why"
        hint = "is this Tetrad's control plane? check TETRAD_CONTROL_URL"
    error = ApiError(
        message,
        hint=hint,
        code=code,
        status=status,
        retry_after_s=min(float(retry_after), 10.0) if retry_after.isdecimal() else None,
    )
    fields = problem.get("errors") or []
    error.errors = tuple((".".join(each.get("loc", [])), str(each.get("msg", ""))) for each in fields)
    return error
