"""A control plane made of sample data, to work on the console without a running product.

`python ui/dev/fake_api.py --port 8499` serves the API and, where it was built, `ui/dist`.
Sign in at `/login#token=dev`. Nothing here is part of the product or of its tests.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import random
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.responses import FileResponse, JSONResponse, StreamingResponse

DIST = Path(__file__).resolve().parent.parent / "dist"
RNG = random.Random(7)  # noqa: S311
COOKIE = "tetrad_session"


def digest(text: str) -> str:
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def rfc3339(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


RELEASES = [digest("release-1"), digest("release-2"), digest("release-3")]
QUESTIONS = [
    ("What does a release pin?", "A release pins four things: the **code**, the **data**, the **model** and the **prompt**."),
    ("How do I roll back production?", "Move the `production` ref to the older digest:\n\n```sh\ntetrad ref move assistant/production sha256:1f0c\n```\n\nIt takes effect on the next request."),
    ("Summarise the last incident in one sentence.", "An upstream returned 529 for four minutes; retries absorbed 96% of it."),
    ("Übersetze: good morning", "Guten Morgen."),
    ("List three risks of prompt drift", "1. Silent quality loss\n2. Broken output contracts\n3. Costs that grow unseen"),
]
SESSIONS: set[str] = set()
SPANS: dict[str, list[dict[str, Any]]] = {}
SUMMARIES: list[dict[str, Any]] = []
LISTENERS: list[asyncio.Queue[dict[str, Any]]] = []


def usage(i: int, o: int) -> dict[str, int]:
    return {"input": i, "cache_read": 0, "cache_write": 0, "output": o, "reasoning": 0, "total": i + o}


def make_trace(at: float, spans: int = 3, trace_id: str = "") -> dict[str, Any]:
    trace_id = trace_id or f"{RNG.getrandbits(128):032x}"
    question, answer = RNG.choice(QUESTIONS)
    failed = RNG.random() < 0.06
    app = RNG.choice(["assistant", "assistant", "assistant", "support-bot", ""])
    release = RNG.choice([RELEASES[0], RELEASES[0], RELEASES[1]]) if app else ""
    model = RNG.choice(["local/smollm2-135m", "local/smollm2-135m", "openai/gpt-5-mini"])
    known = model.startswith("openai")
    duration = int(RNG.lognormvariate(6.6, 0.6) * 1e6)
    start = int(at * 1e9)
    i, o = RNG.randint(80, 900), RNG.randint(10, 300)
    base: dict[str, Any] = {
        "project": "default", "trace_id": trace_id, "kind": "INTERNAL", "status_message": "", "operation": "", "provider": "",
        "request_model": "", "response_model": "", "response_id": "", "finish_reasons": [], "usage": None, "cost": None,
        "currency": "USD", "stream": True, "first_chunk_ns": "0", "attempt": 0, "http_status": 0, "error_type": "",
        "app": app, "ref": "production" if app else "", "release": release, "binding": "", "variant": "",
        "prompt_name": "assistant" if app else "", "prompt_version": "1.2.0" if app else "",
        "code_digest": digest("code") if app else "", "code_match": RNG.choice(["match", "match", "mismatch", "unannounced"]) if app else "",
        "session": f"s-{RNG.randint(1, 40)}", "user": RNG.choice(["ada", "grace", "linus"]), "unit": "", "key_id": "key_0193",
        "service": "gateway", "attributes": {"gen_ai.request.temperature": "0.2", "server.address": "127.0.0.1"},
        "input_preview": question, "output_preview": "" if failed else answer[:200],
    }  # fmt: skip
    root = base | {
        "span_id": f"{RNG.getrandbits(64):016x}", "parent_id": "", "name": "POST /v1/chat/completions", "kind": "SERVER",
        "start_ns": str(start), "end_ns": str(start + duration), "status": "error" if failed else "ok",
        "operation": "chat", "request_model": f"app:{app}" if app else model, "http_status": 503 if failed else 200,
        "first_chunk_ns": "0" if failed else str(start + duration // 5),
        "_question": question, "_answer": "" if failed else answer,
    }  # fmt: skip
    out = [root]
    call = base | {
        "span_id": f"{RNG.getrandbits(64):016x}", "parent_id": root["span_id"], "name": f"chat {model}", "kind": "CLIENT",
        "start_ns": str(start + duration // 50), "end_ns": str(start + duration - duration // 90),
        "status": "error" if failed else "ok", "status_message": "upstream answered 503: no slot free" if failed else "",
        "operation": "chat", "provider": model.split("/")[0], "request_model": model, "response_model": model,
        "finish_reasons": [] if failed else ["stop"], "usage": usage(i, 0 if failed else o),
        "cost": f"{i * 25e-8 + o * 2e-6:.8f}" if known and not failed else ("0" if not known else None),
        "first_chunk_ns": "0" if failed else str(start + duration // 5), "attempt": 1, "http_status": 503 if failed else 200,
        "error_type": "unavailable" if failed else "", "_question": question, "_answer": "" if failed else answer,
    }  # fmt: skip
    out.append(call)
    parents = [root]
    for n in range(spans - 2):
        parent = RNG.choice(parents[-6:])
        lo, hi = int(parent["start_ns"]), int(parent["end_ns"])
        a = lo + int((hi - lo) * RNG.random() * 0.6)
        b = a + int((hi - a) * (0.2 + RNG.random() * 0.75))
        span = base | {
            "span_id": f"{RNG.getrandbits(64):016x}", "parent_id": parent["span_id"],
            "name": RNG.choice(["render prompt", "execute_tool search", "retrieval docs", "authorise", "rerank"]) if n < 4 else f"step {n}",
            "start_ns": str(a), "end_ns": str(b), "status": "ok", "_question": question, "_answer": "",
        }  # fmt: skip
        out.append(span)
        if RNG.random() < 0.3:
            parents.append(span)
    SPANS[trace_id] = out
    row = summary(out)
    SUMMARIES.append(row)
    return row


def summary(spans: list[dict[str, Any]]) -> dict[str, Any]:
    root, call = spans[0], spans[1]
    return {
        "trace_id": root["trace_id"], "name": root["name"], "status": root["status"], "start_ns": root["start_ns"],
        "start": rfc3339(int(root["start_ns"]) / 1e9), "duration_ms": (int(root["end_ns"]) - int(root["start_ns"])) / 1e6,
        "first_token_ms": (int(root["first_chunk_ns"]) - int(root["start_ns"])) / 1e6 if root["first_chunk_ns"] != "0" else None,
        "app": root["app"], "ref": root["ref"], "release": root["release"], "model": call["request_model"],
        "session": root["session"], "user": root["user"], "spans": len(spans), "errors": sum(s["status"] == "error" for s in spans),
        "usage": call["usage"], "total_tokens": call["usage"]["total"], "models": [call["request_model"]], "calls": 1, "unpriced_calls": int(call["cost"] is None), "other_costs": [], "cost": call["cost"], "currency": "USD",
        "code_match": root["code_match"], "input_preview": root["input_preview"], "output_preview": root["output_preview"],
    }  # fmt: skip


app = FastAPI(title="Tetrad (sample data)", version="0.1.0")


def problem(status: int, code: str, detail: str, hint: str = "") -> JSONResponse:
    body = {"type": f"about:blank#{code}", "title": code, "status": status, "detail": detail, "code": code, "hint": hint}
    return JSONResponse(body, status, media_type="application/problem+json")


@app.middleware("http")
async def guard(request: Request, call_next: Any) -> Any:
    path = request.url.path
    if path.startswith("/api/") and path != "/api/v1/session" and request.cookies.get(COOKIE) not in SESSIONS:
        return problem(401, "unauthenticated", "You are not signed in.", "Run `tetrad login` and open the link it prints.")
    return await call_next(request)


def me() -> dict[str, Any]:
    return {
        "principal": {"id": "usr_1", "name": "admin", "kind": "person"}, "scopes": ["admin", "control", "data"],
        "projects": [{"name": "default", "title": "Default"}, {"name": "lab", "title": "Lab"}], "version": "0.1.0",
        "expires_at": rfc3339(time.time() + 43200),
    }  # fmt: skip


@app.get("/api/v1/session")
def get_session(request: Request) -> Any:
    if request.cookies.get(COOKIE) not in SESSIONS:
        return problem(401, "unauthenticated", "You are not signed in.", "Run `tetrad login` and open the link it prints.")
    return me()


@app.post("/api/v1/session")
async def post_session(request: Request) -> Any:
    body = await request.json()
    if body.get("token") != "dev":
        return problem(401, "unauthenticated", "This sign-in link was used already, or it has expired.", "Run `tetrad login` for a new one.")
    token = f"{RNG.getrandbits(128):x}"
    SESSIONS.add(token)
    answer = JSONResponse(me())
    answer.set_cookie(COOKIE, token, httponly=True, samesite="strict")
    return answer


@app.delete("/api/v1/session", status_code=204)
def delete_session(request: Request) -> Response:
    SESSIONS.discard(request.cookies.get(COOKIE, ""))
    return Response(status_code=204)


FIELDS = ("status", "app", "model", "release", "session", "user", "name")


@app.get("/api/v1/projects/{project}/traces")
def list_traces(project: str, request: Request, limit: int = 50, cursor: str = "", sort: str = "-start") -> Any:
    q = request.query_params
    rows = SUMMARIES if project == "default" else []
    if q.get("from"):
        rows = [r for r in rows if r["start"] >= q["from"]]
    if q.get("to"):
        rows = [r for r in rows if r["start"] < q["to"]]
    for f in FIELDS:
        if q.get(f):
            rows = [r for r in rows if r[f].startswith(q[f])]
    if q.get("q"):
        rows = [r for r in rows if q["q"].lower() in (r["input_preview"] + r["output_preview"]).lower()]
    if q.get("min_duration_ms"):
        rows = [r for r in rows if r["duration_ms"] >= float(q["min_duration_ms"])]
    key = {"start": "start_ns", "duration": "duration_ms", "tokens": "total_tokens", "first_token": "first_token_ms"}.get(sort.lstrip("-"), sort.lstrip("-"))
    rows = sorted(rows, key=lambda r: (float(r[key] or 0) if key in ("cost", "first_token_ms") else r[key]), reverse=sort.startswith("-"))
    at = int(cursor or 0)
    return {"items": rows[at : at + limit], "next_cursor": str(at + limit) if at + limit < len(rows) else None}


@app.get("/api/v1/projects/{project}/traces/stream")
async def stream_traces(project: str) -> StreamingResponse:
    queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    LISTENERS.append(queue)

    async def events() -> AsyncIterator[str]:
        yield ": hello\n\n"
        while True:
            row = await queue.get()
            yield f"event: trace\nid: {row['trace_id']}\ndata: {json.dumps(row)}\n\n"

    return StreamingResponse(events(), media_type="text/event-stream")


@app.get("/api/v1/projects/{project}/traces/{trace_id}")
def get_trace(project: str, trace_id: str) -> Any:
    if trace_id not in SPANS:
        return problem(404, "not_found", f"No trace {trace_id!r} in project {project!r}.", "It may be older than the retention, or of another project.")
    spans = [{k: v for k, v in s.items() if not k.startswith("_")} for s in SPANS[trace_id]]
    return {"trace": summary(SPANS[trace_id]), "spans": spans, "truncated": False}


@app.get("/api/v1/projects/{project}/traces/{trace_id}/spans/{span_id}")
def get_span(project: str, trace_id: str, span_id: str) -> Any:
    span = next((s for s in SPANS.get(trace_id, []) if s["span_id"] == span_id), None)
    if span is None:
        return problem(404, "not_found", f"No span {span_id!r}.")
    messages = [{"role": "system", "content": "You answer questions about Tetrad, briefly and only from what you know."}]
    messages += [{"role": "user", "content": "What is a ref?"}, {"role": "assistant", "content": "A movable, governed name of a digest."}]
    messages += [{"role": "user", "content": span["_question"]}]
    answer = {"choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": span["_answer"]}}]} if span["_answer"] else None
    return {k: v for k, v in span.items() if not k.startswith("_")} | {"input": {"model": span["request_model"], "messages": messages, "temperature": 0.2}, "output": answer}


WINDOWS = {"15m": (900, 30), "1h": (3600, 60), "24h": (86400, 1800), "7d": (604800, 14400)}


@app.get("/api/v1/projects/{project}/overview")
def get_overview(project: str, window: str = "1h") -> Any:
    span, step = WINDOWS[window]
    now = time.time()
    start = now - span
    rows = [r for r in SUMMARIES if int(r["start_ns"]) / 1e9 >= start] if project == "default" else []

    def stats(part: list[dict[str, Any]]) -> dict[str, Any]:
        d = sorted(r["duration_ms"] for r in part)
        f = sorted(r["first_token_ms"] for r in part if r["first_token_ms"])
        at = lambda xs, p: xs[min(len(xs) - 1, int(len(xs) * p))] if xs else None  # noqa: E731
        known = [float(r["cost"]) for r in part if r["cost"] is not None]
        return {
            "requests": len(part), "errors": sum(r["status"] == "error" for r in part), "latency_p50_ms": at(d, 0.5), "latency_p95_ms": at(d, 0.95),
            "first_token_p50_ms": at(f, 0.5), "first_token_p95_ms": at(f, 0.95), "input_tokens": sum(r["usage"]["input"] for r in part),
            "output_tokens": sum(r["usage"]["output"] for r in part), "cost": f"{sum(known):.6f}" if known else None, "unpriced_calls": sum(r["cost"] is None for r in part),
        }  # fmt: skip

    buckets: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for r in rows:
        buckets[int((int(r["start_ns"]) / 1e9 - start) // step)].append(r)

    def top(field: str) -> list[dict[str, Any]]:
        groups: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for r in rows:
            if r[field]:
                groups[r[field]].append(r)
        return [{"name": k} | stats(v) for k, v in sorted(groups.items(), key=lambda kv: -len(kv[1]))[:5]]

    return {
        "window": window, "from": rfc3339(start), "to": rfc3339(now), "bucket_s": step, "currency": "USD", "totals": stats(rows), "previous": stats(rows[:200]),
        "series": [{"at": rfc3339(start + i * step)} | stats(buckets.get(i, [])) for i in range(span // step)],
        "top_models": top("model"), "top_releases": [t | {"app": "assistant"} for t in top("release")], "top_apps": top("app"),
    }  # fmt: skip


@app.get("/api/v1/status")
def get_status() -> Any:
    proc = lambda name, mb, **more: {"name": name, "state": "running", "pid": 4242, "restarts": 0, "rss_bytes": mb << 20, "reason": ""} | more  # noqa: E731
    return {
        "version": "0.1.0", "ready": True,
        "processes": [proc("control", 210), proc("gateway-0", 74), proc("gateway-1", 73), proc("worker", 130), proc("inference", 120, restarts=1, reason="restarted after exit code -9")],
        "engines": [{"name": "smollm2-135m", "state": "ready", "models": ["local/smollm2-135m"], "reason": "", "restarts": 0, "rss_bytes": 190 << 20}, {"name": "minilm-l6-v2", "state": "starting", "models": ["local/minilm-l6-v2"], "reason": "loads at the first request", "restarts": 0, "rss_bytes": 0}],
        "route_table": {"version": "0193f2-12", "gateways": 2, "apps": 2, "models": 3, "error": "", "problems": []},
        "stores": [{"name": "database", "kind": "sqlite", "ok": True, "detail": "answers"}, {"name": "telemetry", "kind": "clickhouse", "ok": True, "detail": "6,431 spans, 2,118,004 bytes"}],
    }  # fmt: skip


@app.get("/api/v1/projects/{project}/apps")
def list_apps(project: str) -> Any:
    if project != "default":
        return {"items": [], "next_cursor": None}
    return {"items": [app_body("assistant"), app_body("support-bot")], "next_cursor": None}


def app_body(name: str) -> dict[str, Any]:
    ref = lambda n, d, h: {"name": n, "digest": d, "moved_at": rfc3339(time.time() - h * 3600), "moved_by": "admin"}  # noqa: E731
    return {"name": name, "default_ref": "production", "created_at": rfc3339(time.time() - 9e5), "refs": [ref("production", RELEASES[0], 5), ref("staging", RELEASES[1], 1)]}  # fmt: skip


@app.get("/api/v1/projects/{project}/apps/{name}")
def get_app(project: str, name: str) -> Any:
    if name not in ("assistant", "support-bot"):
        return problem(404, "not_found", f"No app {name!r} in project {project!r}.", "Run `tetrad apps` for those that exist.")
    moves = [("production", RELEASES[2], RELEASES[0], "shorter answers"), ("staging", RELEASES[0], RELEASES[1], "try more examples"), ("production", None, RELEASES[2], "first release")]
    return app_body(name) | {"history": [{"ref": r, "from": a, "to": b, "at": rfc3339(time.time() - (n + 1) * 18000), "by": "admin", "reason": why, "sequence": 3 - n} for n, (r, a, b, why) in enumerate(moves)]}  # fmt: skip


@app.get("/api/v1/projects/{project}/releases/{release}")
def get_release(project: str, release: str) -> Any:
    if release not in RELEASES:
        return problem(404, "not_found", f"No release {release!r} in project {project!r}.")
    rows = [{"question": q, "answer": a} for q, a in QUESTIONS]
    return {
        "digest": release, "app": "assistant", "created_at": rfc3339(time.time() - 20000), "created_by": "admin", "reason": "shorter answers",
        "manifest": {"schema": "tetrad.release/1", "app": "assistant", "prompt": [{"role": "main", "name": "assistant", "semver": "1.2.0", "digest": digest("prompt")}]},
        "code": [{"role": "app", "digest": digest("code"), "commit": "9f2c1e77d0b4", "dirty": True, "tree": "", "patch": None, "lock": None, "runtime": {}, "size": 3532, "file_count": 2, "files": [{"path": "assistant.py", "size": 3120, "digest": digest("a")}, {"path": "tetrad.yaml", "size": 412, "digest": digest("b")}]}],
        "data": [{"role": "fewshot", "name": "assistant-fewshot", "version": "1.0.0", "digest": digest("data"), "rows": 5, "order": "", "size": 900, "preview": rows}],
        "model": [{"role": "chat", "name": "local/smollm2-135m", "kind": "weights", "digest": digest("model"), "size_bytes": 105 << 20, "quantisation": "Q4_K_M", "licence": "Apache-2.0", "version": "1.0.0", "format": "gguf", "architecture": "llama", "parameters": 135000000, "context_length": 2048, "provider": "", "provider_model": "", "snapshot": "", "immutable": True, "engine": "llama_cpp"}],
        "prompt": [{"role": "main", "name": "assistant", "version": "1.2.0", "digest": digest("prompt"), "syntax": "mustache", "messages": [{"role": "system", "text": "You answer questions about {{ product }}, briefly and only from what you know.\nIf you do not know, say so."}], "variables": [{"name": "product", "type": "string", "default": "Tetrad", "required": False, "description": "What the questions are about"}]}],
        "examples": [{"role": "user", "text": "What is a ref?"}, {"role": "assistant", "text": "A movable, governed name of a digest."}], "params": {"temperature": 0.2, "max_tokens": 256},
    }  # fmt: skip


KEYS: list[dict[str, Any]] = [
    {"id": "key_01", "name": "first key", "scope": "data", "scopes": ["data"], "ending": "8fK2", "content": "full", "read_only": False, "created_at": rfc3339(time.time() - 9e5), "created_by": "setup", "expires_at": None, "last_used_at": rfc3339(time.time() - 60), "revoked_at": None, "state": "active"},
]  # fmt: skip


@app.get("/api/v1/projects/{project}/keys")
def list_keys(project: str) -> Any:
    return {"items": KEYS if project == "default" else [], "next_cursor": None}


@app.post("/api/v1/projects/{project}/keys", status_code=201)
async def create_key(project: str, request: Request) -> Any:
    body = await request.json()
    if any(k["name"] == body["name"] for k in KEYS):
        return problem(409, "conflict", f"A key named {body['name']!r} exists.", "Choose another name, or revoke that one.")
    key = {"id": f"key_{RNG.getrandbits(32):08x}", "name": body["name"], "scope": body["scopes"][0], "scopes": body["scopes"], "ending": "Zx91", "content": "full", "read_only": False, "created_at": rfc3339(time.time()), "created_by": "admin", "expires_at": body.get("expires_at"), "last_used_at": None, "revoked_at": None, "state": "active"}
    KEYS.append(key)
    return {"key": key, "secret": f"tetrad_data_{RNG.getrandbits(160):040x}"}


@app.post("/api/v1/projects/{project}/keys/{key_id}/rotate")
def rotate_key(project: str, key_id: str) -> Any:
    return {"key": next(k for k in KEYS if k["id"] == key_id), "secret": f"tetrad_data_{RNG.getrandbits(160):040x}"}


@app.delete("/api/v1/projects/{project}/keys/{key_id}", status_code=204)
def revoke_key(project: str, key_id: str) -> Response:
    KEYS[:] = [k for k in KEYS if k["id"] != key_id]
    return Response(status_code=204)


@app.post("/dev/traces")
async def push_trace(spans: int = 3) -> Any:
    row = make_trace(time.time() - 1, spans)
    for queue in LISTENERS:
        queue.put_nowait(row)
    return row


@app.api_route("/{path:path}", methods=["GET"])
def console(path: str) -> Response:
    if path.startswith("api/"):
        return problem(404, "not_found", f"No such path: /{path}")
    file = DIST / path
    return FileResponse(file if path and file.is_file() else DIST / "index.html")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=8499)
    parser.add_argument("--empty", action="store_true")
    args = parser.parse_args()
    if not args.empty:
        now = time.time()
        for n in range(1600):
            make_trace(now - (n / 1600) ** 3 * timedelta(days=7).total_seconds() - 2, RNG.randint(2, 5))
        make_trace(now - 1, 5000, "f" * 32)
    uvicorn.run(app, host="127.0.0.1", port=args.port, log_level="warning")


if __name__ == "__main__":
    main()
