"""Commands for providers and cached answers, over control's API; `cache stats` reads a gateway's metrics."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import quote

import msgspec
import typer

from tetrad.kernel import UNITS, InvalidInput, Unavailable
from tetrad.kit.api_client import ApiClient, path_part
from tetrad.kit.cli_output import Find, InProject, Json, SortBy, show_rows
from tetrad.kit.egress import MAX_CA_BYTES
from tetrad.kit.home import SETTINGS as INSTALLATION
from tetrad.kit.running import running_gateway
from tetrad.kit.settings import load_settings
from tetrad.serving._presets import PRESETS, find_preset
from tetrad.serving._providers import MAX_MODELS

_BY_TOKEN = ("input", "output", "cache_read", "cache_write", "batch")
providers = typer.Typer(no_args_is_help=True, help="Providers: remote APIs that answer.")
Name = Annotated[str, typer.Argument(help="The first part of its models' names: `openai` in openai/gpt-5-mini.")]


def _path(project: str, name: str = "") -> str:
    base = f"/api/v1/projects/{path_part(project)}/providers"
    return f"{base}/{path_part(name)}" if name else base


@providers.command("list")
def list_providers(find: Find = "", sort: SortBy = None, project: InProject = "default", as_json: Json = False) -> None:
    """List the providers of a project."""
    columns = {
        "name": lambda row: row["name"],
        "base url": lambda row: row["base_url"],
        "protocol": lambda row: row["adapter"],
        "secret": lambda row: ", ".join([row["secret"], *row["secrets"]]) or "none",
        "models": lambda row: ", ".join(model["name"] for model in row["models"]),
    }
    show_rows(
        ApiClient.from_environment().items(_path(project), q=find or None, sort=sort),
        columns,
        as_json,
        empty="no providers; `tetrad provider set openai --secret NAME` adds one",
    )


def _text_of(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            return opened.read(MAX_CA_BYTES + 1).decode("ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{str(file)!r} cannot be read: {error}", hint="name a file of PEM certificates") from None


@providers.command("set")
def set_provider(
    name: Name,
    base_url: Annotated[
        str, typer.Option(help="Where its API begins, such as https://host/v1.", show_default="the preset's")
    ] = "",
    model: Annotated[
        list[str] | None,
        typer.Option("--model", "-m", help="A model it serves; repeat it. Without any: all that it lists."),
    ] = None,
    preset: Annotated[
        str,
        typer.Option(
            help="What is known of a provider, see `tetrad provider presets`.", show_default="that of its NAME"
        ),
    ] = "",
    deployment: Annotated[
        list[str] | None,
        typer.Option("--deployment", metavar="MODEL=NAME", help="What the provider itself calls a model; repeat it."),
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option("--option", "-o", metavar="NAME=VALUE", help="Region, version of the API and so on; repeat it."),
    ] = None,
    auth: Annotated[
        str,
        typer.Option(
            help="How the secret is used: bearer, header, query, sigv4, google, none; or without one, as the "
            "machine of the gateway: aws-machine, google-machine, azure-machine.",
            show_default="",
        ),
    ] = "",
    embeddings: Annotated[
        list[str] | None, typer.Option("--embeddings", help="Which of them embed texts instead of chatting; repeat it.")
    ] = None,
    secret: Annotated[
        list[str] | None,
        typer.Option(help="Name of the secret with its key, see `tetrad secret set`; repeat it for more keys."),
    ] = None,
    max_concurrency: Annotated[
        int, typer.Option(help="Calls of one gateway worker at once; more wait their turn. 0: no limit.")
    ] = 0,
    kind: Annotated[
        list[str] | None,
        typer.Option(
            "--kind",
            metavar="MODEL=KIND",
            help="What it does instead of chatting: images, transcriptions, speech, moderations, rerank; repeat it.",
        ),
    ] = None,
    operation: Annotated[
        list[str] | None,
        typer.Option(
            "--operation", help="What it speaks natively: chat, responses, completions, embeddings; repeat it."
        ),
    ] = None,
    adapter: Annotated[
        str,
        typer.Option(
            help="The protocol that it speaks: openai, anthropic, azure, gemini, bedrock, invocations, …",
            show_default="the preset's, or openai",
        ),
    ] = "",
    system: Annotated[
        str, typer.Option(help="Its name in the public price list and on spans; the protocol's where it is left out.")
    ] = "",
    translation: Annotated[
        str,
        typer.Option(help="What of a request its protocol cannot say: leave it out (lossy) or refuse it (strict)."),
    ] = "lossy",
    price: Annotated[
        list[str] | None,
        typer.Option(
            "--price",
            metavar="MODEL=WHAT:DECIMAL",
            help="What it charges, in USD, where the public price list does not know it: input, output, cache_read, "
            "cache_write, audio_input, audio_output, image_input, image_output, reasoning or character by the million; "
            "image, request, search_unit or second each; batch is what part of it the provider's own batches cost "
            "(0.5: half); repeat it.",
        ),
    ] = None,
    batches: Annotated[
        str,
        typer.Option(
            help="Hand batches over to its own batch API (native), or make them as calls.",
            show_default="native for OpenAI and Anthropic themselves",
        ),
    ] = "",
    ca: Annotated[
        Path | None, typer.Option(help="File of PEM certificates that sign its own, in place of the system's.")
    ] = None,
    internal: Annotated[
        bool | None,
        typer.Option(help="Its name resolves to a private address, and may; for administrators of all projects."),
    ] = None,
    project: InProject = "default",
    as_json: Json = False,
) -> None:
    """Add a provider, or change it. Clients of any protocol then call `NAME/MODEL`.

    For example, once `tetrad secret set openai-key` has its key: `tetrad provider set openai --secret openai-key`, or
    `tetrad provider set lab --base-url http://127.0.0.1:8000/v1` for an engine of yours.
    """
    first, *more = secret or [""]
    body = _address(name, preset, base_url, _pairs(option, "--option"))
    if adapter:
        body |= {"adapter": adapter, "system": system or adapter}
    if system:
        body["system"] = system
    if auth:
        body["auth"] = auth
    if operation:
        body["operations"] = operation
    body |= {"secret": first, "secrets": more, "translation": translation, "max_concurrency": max_concurrency}
    body["batches"] = batches
    if internal is not None:
        body["internal"] = internal
    if ca is not None:
        body["ca"] = _text_of(ca)
    client = ApiClient.from_environment()
    names = model or _discovered(client, project, name, body)
    prices = _prices(price or (), names)
    models = _models(names, embeddings or [], kind or [], _pairs(deployment, "--deployment"), listed=not model)
    body["models"] = [{**each, "price": prices.get(each["name"])} for each in models]
    found = client.put(_path(project, name), body)
    show_rows(
        [{"model": f"{name}/{each['name']}", "kinds": ", ".join(each["kinds"])} for each in found["models"]],
        {"model": lambda row: row["model"], "kinds": lambda row: row["kinds"]},
        as_json,
        empty="",
    )


def _pairs(texts: list[str] | None, option: str) -> dict[str, str]:
    found = {}
    for text in texts or ():
        name, equals, value = text.partition("=")
        if not equals or not name or not value:
            raise InvalidInput(f"{text!r} is no NAME=VALUE", hint=f"such as {option} region=us-east-1")
        found[name] = value
    return found


def _address(name: str, preset: str, base_url: str, given: dict[str, str]) -> dict[str, Any]:
    """Return what a preset knows, and what was given in its place."""
    known = find_preset(preset) if preset else None if base_url else PRESETS.get(name)
    if known is None:
        if not base_url:
            raise InvalidInput(
                f"nothing is known of a provider {name!r}",
                hint="give --base-url, or --preset with one that `tetrad provider presets` lists",
            )
        return {"base_url": base_url, "adapter": "openai", "system": "openai", "options": given}
    if base_url:
        url, options = base_url, {**known.options, **given}
    else:
        url, options = known.address(given)
    body: dict[str, Any] = {"base_url": url, "options": options, "adapter": known.adapter, "system": known.system}
    return {**body, "auth": known.auth, "operations": list(known.operations)}


def _discovered(client: ApiClient, project: str, name: str, body: dict[str, Any]) -> list[str]:
    listed = client.post(f"{_path(project, name)}/discover", body)["items"]
    names = [each["name"] for each in listed][:MAX_MODELS]
    if not names:
        raise InvalidInput(f"the provider {name!r} lists no models", hint="name them with --model")
    return names


def _models(
    names: list[str], embeddings: list[str], kinds: list[str], deployments: dict[str, str], *, listed: bool
) -> list[dict[str, Any]]:
    for option, given in (("--embeddings", set(embeddings)), ("--deployment", set(deployments))):
        if unknown := given - set(names):
            raise InvalidInput(f"{min(unknown)!r} is given to {option} only", hint="name it with --model too")
    found: dict[str, list[str]] = {}
    for text in kinds:
        name_of, equals, what = text.rpartition("=")
        if not equals or name_of not in names:
            raise InvalidInput(f"{text!r} names no model of --model", hint="such as --kind gpt-image-1=images")
        found.setdefault(name_of, []).append(what)
    models = []
    for each in names:
        embeds = each in embeddings or (listed and "embed" in each.lower())
        usual = ["embeddings" if embeds else "chat"]
        models.append({"name": each, "kinds": found.get(each) or usual, "deployment": deployments.get(each, "")})
    return models


@providers.command("presets")
def list_presets(as_json: Json = False) -> None:
    """List the providers whose addresses and logins are known."""
    columns = {
        "preset": lambda row: row["name"],
        "provider": lambda row: row["title"],
        "address": lambda row: row["base_url"],
        "protocol": lambda row: row["adapter"],
        "secret": lambda row: "none" if row["local"] else row["holds"],
    }
    rows = [msgspec.to_builtins(each) for each in PRESETS.values()]
    show_rows(rows, columns, as_json, empty="")


@providers.command("models")
def list_models(name: Name, project: InProject = "default", as_json: Json = False) -> None:
    """Ask a provider which models it has."""
    found = ApiClient.from_environment().items(f"{_path(project, name)}/models")
    show_rows(found, {"model": lambda row: row["name"]}, as_json, empty="it lists none")


@providers.command("test")
def try_provider(
    name: Name,
    model: Annotated[str, typer.Option("--model", "-m", help="Which of its models; else the first of each kind.")] = "",
    project: InProject = "default",
    as_json: Json = False,
) -> None:
    """Call a provider and say what works; the calls cost what such calls cost."""
    query = f"?model={quote(model, safe='')}" if model else ""
    rows = ApiClient.from_environment().post(f"{_path(project, name)}/test{query}")["items"]
    columns = {
        "what": lambda row: row["what"],
        "works": lambda row: "yes" if row["works"] else "no",
        "seconds": lambda row: f"{row['seconds']:.2f}",
        "detail": lambda row: row["detail"],
    }
    show_rows(rows, columns, as_json, empty="nothing to try")
    if not all(row["works"] for row in rows):
        raise typer.Exit(1)


def _prices(texts: Iterable[str], models: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Read `MODEL=WHAT:DECIMAL`; what a price of tokens leaves out is free."""
    found: dict[str, dict[str, Any]] = {}
    for text in texts:
        name, equals, said = text.rpartition("=")
        what, colon, amount = said.partition(":")
        if not equals or not colon or name not in models or what not in (*_BY_TOKEN, *UNITS):
            raise InvalidInput(
                f"{text!r} is no price of a model of --model",
                hint=f"such as --price tts-1=character:15; {', '.join((*_BY_TOKEN, *UNITS))}",
            )
        price = found.setdefault(name, {"input": "0", "output": "0", "units": {}})
        (price if what in _BY_TOKEN else price["units"])[what] = amount
    return found


@providers.command("health")
def show_health(name: Name, project: InProject = "default", as_json: Json = False) -> None:
    """Tell how a provider's keys do, and how many calls wait for it."""
    columns = {
        "keys": lambda row: (
            f"{row['keys_ready']} ready, {row['keys_cooling']} cooling, {row['keys_retired']} retired"
            if row["keys_ready"] + row["keys_cooling"] + row["keys_retired"]
            else "one"
        ),
        "calls": lambda row: (
            f"{row['in_flight']} of {row['limit']:g} under way, {row['waiting']} waiting, {row['refused']} refused"
            if row["limit"]
            else "no limit"
        ),
        "gateway workers": lambda row: str(row["workers"]),
    }
    found = ApiClient.from_environment().get(f"{_path(project, name)}/health")
    show_rows([found], columns, as_json, empty="")


@providers.command("remove")
def remove_provider(name: Name, project: InProject = "default") -> None:
    """Remove a provider; calls in flight end as they would have."""
    ApiClient.from_environment().delete(_path(project, name))
    typer.echo(f"removed {name}")


caches = typer.Typer(no_args_is_help=True, help="Cached answers: how they are kept, what they save.")
CachedApp = Annotated[
    str, typer.Argument(help="The app; `-` for calls of models, and of apps without a policy of their own.")
]
_POLICY_COLUMNS = {
    "app": lambda row: row["app"],
    "use": lambda row: row["use"],
    "seconds": lambda row: str(row["ttl_s"]),
    "tools": lambda row: "yes" if row["tools"] else "no",
    "shared by": lambda row: row["shared_by"],
    "similar": lambda row: row["semantic"] if row["semantic"] == "off" else f"{row['semantic']} >= {row['threshold']}",
}
_SAMPLE = re.compile(r"tetrad_gateway_cache_(\w+)\{(.*)\} (\S+)")
_LABEL = re.compile(r'(result|level|outcome)="(\w+)"')
_LABELLED = {"result": "requests", "level": "found in", "outcome": "server"}
_GAUGES = {"server_up": "workers that the server answers", "server_writable": "workers whose answers it takes"}


def _cache_path(project: str, app: str = "") -> str:
    base = f"/api/v1/projects/{path_part(project)}/caches"
    return f"{base}/{path_part(app)}" if app else base


@caches.command("list")
def list_caches(find: Find = "", sort: SortBy = None, project: InProject = "default", as_json: Json = False) -> None:
    """List how the answers of a project's apps are cached."""
    show_rows(
        ApiClient.from_environment().items(_cache_path(project), q=find or None, sort=sort),
        _POLICY_COLUMNS,
        as_json,
        empty="",
    )


@caches.command("set")
def set_cache(
    app: CachedApp,
    use: Annotated[
        Literal["always", "asked", "never"],
        typer.Option(help="Cache unless a request declines, only where it asks, or never."),
    ] = "always",
    ttl: Annotated[int, typer.Option(help="Seconds for which an answer is kept.")] = 3600,
    tools: Annotated[bool, typer.Option("--tools", help="Keep answers that call tools, too.")] = False,
    shared_by: Annotated[
        Literal["project", "user", "unit"], typer.Option(help="Who may get whose answers.")
    ] = "project",
    semantic: Annotated[
        Literal["off", "cold", "any"],
        typer.Option(help="Give similar questions one answer: never, where temperature is at most 0.2, or always."),
    ] = "off",
    threshold: Annotated[
        float | None, typer.Option(help="Cosine from which two questions are similar.", show_default="measured")
    ] = None,
    project: InProject = "default",
    as_json: Json = False,
) -> None:
    """Say how the answers of an app are cached; what is not given is set to its default.

    For example: `tetrad cache set assistant --ttl 600`, and `tetrad cache set - --use never` for calls of bare models.
    """
    body: dict[str, Any] = {
        "use": use, "ttl_s": ttl, "tools": tools, "shared_by": shared_by, "semantic": semantic,
    }  # fmt: skip
    if threshold is not None:
        body["threshold"] = threshold
    found = ApiClient.from_environment().put(_cache_path(project, app), body)
    show_rows([found], _POLICY_COLUMNS, as_json, empty="")


@caches.command("unset")
def unset_cache(app: CachedApp, project: InProject = "default") -> None:
    """Take an app's policy away, and with it everything that was cached."""
    ApiClient.from_environment().delete(_cache_path(project, app))
    typer.echo(f"{app} has no cache policy of its own any more")


@caches.command("clear")
def clear_cache(app: CachedApp, project: InProject = "default", as_json: Json = False) -> None:
    """Make everything that was cached for an app unreachable, in every gateway."""
    cleared = ApiClient.from_environment().post(f"{_cache_path(project, app)}/clear")
    whose = "calls without a policy of their own" if cleared["app"] == "-" else f"the app {cleared['app']}"
    show_rows([cleared], {"cleared": lambda _row: whose}, as_json, empty="")


@caches.command("stats")
def show_cache_stats(
    gateway: Annotated[str, typer.Option(help="Where the gateway answers.", show_default="this installation's")] = "",
    as_json: Json = False,
) -> None:
    """Show what the caches of a gateway's workers did since they started."""
    rows = _cache_samples(gateway or _own_gateway())
    columns = {"what": lambda row: row["what"], "count": lambda row: str(row["count"])}
    show_rows(rows, columns, as_json, empty="the gateway has no cache: TETRAD_GATEWAY_CACHE_BYTES is 0")


def _own_gateway() -> str:
    return running_gateway(load_settings([INSTALLATION], partial=True))


def _cache_samples(gateway: str) -> list[dict[str, Any]]:
    import httpx

    try:
        answer = httpx.get(f"{gateway.rstrip('/')}/metrics", timeout=10.0, trust_env=False).raise_for_status()
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise Unavailable(
            f"no metrics at {gateway!r}: {error}", hint="is the gateway up? see `tetrad status`"
        ) from None
    found: dict[str, int] = {}
    for name, labels, value in _SAMPLE.findall(answer.text):
        label = _LABEL.search(labels)
        plain_name = _GAUGES.get(name, name.removesuffix("_total").replace("_", " "))
        what = f"{_LABELLED[label[1]]}: {label[2]}" if label else plain_name
        found[what] = found.get(what, 0) + int(float(value))
    return [{"what": what, "count": count} for what, count in found.items()]
