"""What reproductions ask of others, from what control has: rendering as the gateway does, traces, durable jobs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from tetrad.kernel import Unavailable
from tetrad.kit.jobs import JobClient, JobNotFound
from tetrad.processes.control._compile import release_route
from tetrad.releases import ResolvedRelease
from tetrad.releases.ports import TracedRequest, Work
from tetrad.serving._body import Fields
from tetrad.serving._prompting import CompiledRelease, house_compiler
from tetrad.traces import TraceFilter, Traces

JOB: Final = "release.reproduce"
_REDACTED = re.compile(r"\[\d+ (?:characters|numbers)\]")
_LOOKED_AT = 200


class GatewayRendering:
    """`RequestRenderer` by the code that gateways run."""

    def render(self, release: ResolvedRelease, messages: bytes, variables: bytes, *, model: str, seed: int) -> bytes:
        fields: Fields = {"model": msgspec.Raw(msgspec.json.encode(model)), "messages": msgspec.Raw(messages)}
        CompiledRelease(release_route(release), house_compiler).apply(fields, variables)
        if not _is_seed(release.params.get("seed")):
            fields["seed"] = msgspec.Raw(b"%d" % seed)
        fields["stream"] = fields["cache_prompt"] = msgspec.Raw(b"false")
        return msgspec.json.encode(fields)


def _is_seed(value: object) -> bool:
    """Tell whether it fixes anything: engines take a negative seed for "another one each time"."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


class TracedTraffic:
    """`RecordedTraffic` by the spans of a release's requests."""

    def __init__(self, traces: Traces) -> None:
        self._traces = traces

    def newest(self, project: str, release: str, *, limit: int) -> Sequence[TracedRequest]:
        window = self._traces.window(0, None)
        found: list[TracedRequest] = []
        after, looked = None, 0
        while len(found) < limit and looked < limit + _LOOKED_AT:
            page = self._traces.find(project, window, TraceFilter(release=release), after=after, limit=_LOOKED_AT)
            for summary in page.items:
                looked += 1
                head = summary.head
                if head.operation == "chat" and head.input_bytes and len(found) < limit:
                    content = self._traces.span(project, head.trace_id, head.span_id, hint_ns=head.start_ns)
                    variables = head.attributes.get("tetrad.variables", "")
                    if _is_whole(content.input):
                        found.append(TracedRequest(head.trace_id, content.input.decode("utf-8"), variables))
            after = page.next
            if after is None:
                break
        return found


def _is_whole(document: bytes) -> bool:
    """Tell whether these are messages as they were sent: neither cut off nor with their words taken out."""
    try:
        messages = msgspec.json.decode(document, type=list[dict[str, Any]])
    except (msgspec.MsgspecError, RecursionError):
        return False
    texts = [message["content"] for message in messages if isinstance(message.get("content"), str)]
    return bool(messages) and not any(_REDACTED.fullmatch(text) for text in texts)


class ReproducingJobs:
    """`Worker` by durable jobs, each named by its reproduction."""

    def __init__(self, jobs: JobClient) -> None:
        self._jobs = jobs

    def ask(self, reproduction: str) -> None:
        self._jobs.enqueue(JOB, {"id": reproduction}, key=reproduction)

    def look(self, reproduction: str) -> Work | None:
        try:
            info = self._jobs.get(f"{JOB}:{reproduction}")
        except (JobNotFound, Unavailable):
            return None
        progress = info.progress
        done, total, message = (progress.done, progress.total, progress.message) if progress else (0, 0, "")
        return Work(info.state, done, total, message, info.error, info.hint)
