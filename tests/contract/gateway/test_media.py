"""Images, sound, moderations and rerank with the real `openai` client, against a real gateway process."""

from __future__ import annotations

import base64
import http.client
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from support import gateway as g
from support.fake_media import AUDIO, PICTURE
from support.fake_openai import FakeOpenAI
from support.gateway import GatewayProcess, make_table, prepare_home, spooled

SOUND = ("speech.mp3", b"\xff\xfb\r\n--not-a-boundary\r\n" * 50, "audio/mpeg")


@pytest.fixture
def client(gateway: GatewayProcess) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=gateway.url + "/v1", api_key=g.KEY, max_retries=0) as client:
        yield client


def call_of(gateway: GatewayProcess, raw: Any) -> Any:
    trace = raw.headers["x-tetrad-trace-id"]
    root, child = [span for span in spooled(gateway.home) if span.trace_id == trace]
    assert (root.status, child.status) == ("ok", "ok")
    return child


def test_moderations(client: openai.OpenAI, gateway: GatewayProcess, upstream: FakeOpenAI) -> None:
    raw = client.moderations.with_raw_response.create(model="local/m1", input=["one", "two"])
    assert raw.parse().results[0].flagged
    assert upstream.requests[-1].target == "/v1/moderations"
    assert upstream.requests[-1].body == {"model": "m1", "input": ["one", "two"]}
    span = call_of(gateway, raw)
    assert (span.operation, span.usage, span.cost) == ("moderations", None, None)
    assert span.attributes["results.count"] == "1"


def test_rerank(client: openai.OpenAI, gateway: GatewayProcess) -> None:
    body = {"model": "local/m1", "query": "cat", "documents": ["a dog", "a cat"], "top_n": 2}
    raw = client.post("/rerank", body=body, cast_to=httpx.Response)
    assert [result["index"] for result in raw.json()["results"]] == [1, 0]
    span = call_of(gateway, raw)
    assert (span.operation, span.usage.input, span.cost) == ("rerank", 40, "0.000006")


def test_images_are_made(client: openai.OpenAI, gateway: GatewayProcess) -> None:
    raw = client.images.with_raw_response.generate(model="local/m1", prompt="a cat", n=1)
    assert raw.parse().data[0].b64_json == PICTURE
    span = call_of(gateway, raw)
    assert (span.usage.input, span.usage.output) == (12, 1056)
    assert span.cost == "0.0006354"
    assert span.attributes["data.count"] == "1"
    assert span.output == b""


def test_images_are_streamed(client: openai.OpenAI, gateway: GatewayProcess) -> None:
    raw = client.images.with_raw_response.generate(model="local/m1", prompt="a cat", stream=True, partial_images=1)
    assert [event.type for event in raw.parse()] == ["image_generation.partial_image", "image_generation.completed"]
    span = call_of(gateway, raw)
    assert (span.stream, span.usage.output) == (True, 1056)


def test_images_are_edited(client: openai.OpenAI, gateway: GatewayProcess, upstream: FakeOpenAI) -> None:
    pictures = [("a.png", b"\x89PNG a", "image/png"), ("b.png", b"\x89PNG b", "image/png")]
    raw = client.images.with_raw_response.edit(model="local/m1", image=pictures, prompt="add a hat")
    assert raw.parse().data[0].b64_json == PICTURE
    seen = upstream.requests[-1].body
    assert (seen["model"], seen["prompt"]) == ("m1", "add a hat")
    assert seen["files"] == [("image[]", "a.png", b"\x89PNG a"), ("image[]", "b.png", b"\x89PNG b")]
    span = call_of(gateway, raw)
    assert span.usage.input == 312
    assert span.cost is None, "300 of its tokens are of an image, and cost what nobody told us"
    root = next(each for each in spooled(gateway.home) if each.span_id == span.parent_id)
    told = json.loads(root.input)
    assert told["prompt"] == "add a hat"
    assert told["files"][0] == {"field": "image[]", "name": "a.png", "bytes": 6}


@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")
def test_images_are_varied(client: openai.OpenAI, upstream: FakeOpenAI) -> None:
    made = client.images.create_variation(model="local/m1", image=("a.png", b"\x89PNG a", "image/png"))
    assert made.data[0].b64_json == PICTURE
    assert upstream.requests[-1].target == "/v1/images/variations"


@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")
@pytest.mark.parametrize("kind", ["transcriptions", "translations"])
def test_sound_is_written_down(client: openai.OpenAI, gateway: GatewayProcess, upstream: FakeOpenAI, kind: str) -> None:
    raw = getattr(client.audio, kind).with_raw_response.create(model="local/m1", file=SOUND, temperature=0)
    assert raw.parse().text == "Hello there."
    seen = upstream.requests[-1]
    assert seen.target == f"/v1/audio/{kind}"
    assert seen.body["model"] == "m1"
    assert seen.body["files"] == [("file", "speech.mp3", SOUND[1])]
    span = call_of(gateway, raw)
    assert (span.operation, span.usage.input, span.usage.output, span.cost) == ("transcriptions", 14, 45, None)
    assert json.loads(span.output)[0]["content"] == "Hello there."


def test_sound_is_written_down_as_text(client: openai.OpenAI) -> None:
    assert client.audio.transcriptions.create(model="local/m1", file=SOUND, response_format="text") == "Hello there."


def test_sound_is_written_down_while_it_is_heard(client: openai.OpenAI, gateway: GatewayProcess) -> None:
    raw = client.audio.transcriptions.with_raw_response.create(model="local/m1", file=SOUND, stream=True)
    events = list(raw.parse())
    assert events[-1].type == "transcript.text.done"
    span = call_of(gateway, raw)
    assert (span.stream, span.usage.output) == (True, 45)
    assert json.loads(span.output)[0]["content"] == "Hello there."


def test_text_is_spoken_as_it_comes(client: openai.OpenAI, gateway: GatewayProcess) -> None:
    with client.audio.speech.with_streaming_response.create(model="local/m1", input="Hello", voice="alloy") as raw:
        assert raw.headers["content-type"] == "audio/mpeg"
        assert b"".join(raw.iter_bytes()) == AUDIO
        span = call_of(gateway, raw)
    assert (span.output, span.attributes["answer.bytes"]) == (b"", str(len(AUDIO)))
    assert json.loads(span.input) == "Hello"


def test_sound_that_breaks_off_is_no_whole_answer(client: openai.OpenAI, gateway: GatewayProcess) -> None:
    with (
        client.audio.speech.with_streaming_response.create(model="local/torn", input="Hello", voice="alloy") as raw,
        pytest.raises(Exception, match=r"(?i)closed|incomplete|disconnected"),
    ):
        b"".join(raw.iter_bytes())
    trace = raw.headers["x-tetrad-trace-id"]
    spans = [span for span in spooled(gateway.home) if span.trace_id == trace]
    assert [span.status for span in spans] == ["error", "error"]
    assert b"error" not in gateway.get("/healthz")[1]


def test_the_other_front_end_passes_forms_and_sound_and_cuts_what_breaks_off(
    upstream: FakeOpenAI, tmp_path: Path
) -> None:
    prepare_home(tmp_path, make_table(upstream.base_url, models=("torn",)))
    with (
        GatewayProcess(tmp_path, gateway_server="uvicorn") as gateway,
        openai.OpenAI(base_url=gateway.url + "/v1", api_key=g.KEY, max_retries=0) as client,
    ):
        assert client.audio.transcriptions.create(model="local/m1", file=SOUND).text == "Hello there."
        assert client.audio.speech.create(model="local/m1", input="Hello", voice="alloy").content == AUDIO
        with pytest.raises(Exception, match=r"(?i)closed|incomplete|disconnected|connection"):
            client.audio.speech.create(model="local/torn", input="Hello", voice="alloy")
        assert "Traceback" not in gateway.log()


def test_errors_of_the_upstream_are_the_clients(client: openai.OpenAI) -> None:
    with pytest.raises(openai.RateLimitError):
        client.audio.transcriptions.create(model="local/error-429", file=SOUND)


def test_a_model_that_cannot_is_named(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="does not do transcriptions"):
        client.audio.transcriptions.create(model="local/chatonly", file=SOUND)


@pytest.mark.parametrize(
    ("content_type", "body", "status", "code"),
    [
        ("application/json", b'{"model":"local/m1"}', 415, "bad_content_type"),
        ("multipart/form-data", b"--x--\r\n", 415, "bad_content_type"),
        ("multipart/form-data; boundary=x", b"", 400, "malformed_form"),
        ("multipart/form-data; boundary=x", b"--x--\r\n", 400, "missing_field"),
        (
            "multipart/form-data; boundary=x",
            b'--x\r\nContent-Disposition: form-data; name="model"\r\n\r\nlocal/m1',
            400,
            "malformed_form",
        ),
    ],
)
def test_what_is_no_form_is_refused(
    gateway: GatewayProcess, content_type: str, body: bytes, status: int, code: str
) -> None:
    found, _, answer = gateway.post("/v1/audio/transcriptions", body, headers={"content-type": content_type})
    assert (found, json.loads(answer)["error"]["code"]) == (status, code)


def test_a_form_past_the_limit_of_bodies_is_refused(gateway: GatewayProcess) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=10)
    connection.putrequest("POST", "/v1/audio/transcriptions")
    connection.putheader("authorization", f"Bearer {g.KEY}")
    connection.putheader("content-type", "multipart/form-data; boundary=x")
    connection.putheader("content-length", str(1 << 30))
    connection.endheaders()
    assert connection.getresponse().status == 413
    connection.close()


def test_files_are_read_from_streams_too(client: openai.OpenAI, upstream: FakeOpenAI) -> None:
    file = io.BytesIO(base64.b64decode(PICTURE))
    file.name = "é.png"
    client.images.edit(model="local/m1", image=file, prompt="ünïcode")
    assert upstream.requests[-1].body["prompt"] == "ünïcode"
