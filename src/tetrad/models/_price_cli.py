"""Commands for the local price table, which goes before every public list."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from tetrad.kernel import UNITS, InvalidInput
from tetrad.kit.api_client import ApiClient, path_part
from tetrad.kit.cli_output import InProject, Json, plain, show_rows, shown_time

BY_TOKEN = ("input", "output", "cache_read", "cache_write", "batch")
prices = typer.Typer(no_args_is_help=True, help="What models cost where no public list knows it, or says it otherwise.")


@prices.command("set")
def set_price(
    name: Annotated[str, typer.Argument(help="The model, as clients name it, such as openai/gpt-image-1.")],
    price: Annotated[
        list[str],
        typer.Argument(
            metavar="WHAT:DECIMAL...",
            help="input, output, cache_read, cache_write, audio_input, audio_output, image_input, image_output, "
            "reasoning and character by the million; image, request, search_unit or second each; batch is what part of "
            "it the provider's own batches cost.",
        ),
    ],
    currency: Annotated[str, typer.Option(help="Three capitals, such as EUR.")] = "USD",
    begins: Annotated[
        str, typer.Option("--from", help="When it begins, such as 2026-12-01 or 2026-12-01T08:00Z.")
    ] = "",
    ends: Annotated[str, typer.Option("--until", help="When it ends; it holds until then, exclusively.")] = "",
    source: Annotated[
        str, typer.Option(help="What it is imported from, such as litellm; `manual`: somebody sets it.")
    ] = "manual",
    project: InProject = "default",
    as_json: Json = False,
) -> None:
    """Add a price. Of several that hold at one time the one that began last counts."""
    body = {
        "model": name,
        **read_price(price),
        "currency": currency,
        "valid_from": begins or None,
        "valid_to": ends or None,
        "source": source,
    }
    made = ApiClient.from_environment().post(_path(project), body)
    text = f"{made['model']} costs {shown_price(made['price'])}; {made['id']}"
    typer.echo(json.dumps(made, indent=2) if as_json else plain(text))


@prices.command("list")
def list_prices(
    name: Annotated[str, typer.Argument(help="A model; all of them without it.")] = "",
    project: InProject = "default",
    as_json: Json = False,
) -> None:
    """List the local price table as the project sees it."""
    columns = {
        "id": lambda each: each["id"],
        "model": lambda each: each["model"],
        "price": lambda each: shown_price(each["price"]),
        "from": lambda each: shown_time(each["price"]["valid_from"]) or "always",
        "until": lambda each: shown_time(each["price"]["valid_to"]) or "open",
        "where": lambda each: "every project" if each["everywhere"] else "this project",
    }
    found = ApiClient.from_environment().get(_path(project), **({"model": name} if name else {}))["items"]
    empty = "no prices here; `tetrad model price set MODEL input:0.15 output:0.6` adds one"
    show_rows(found, columns, as_json, empty=empty)


@prices.command("remove")
def remove_price(
    price_id: Annotated[str, typer.Argument(metavar="ID", help="As `tetrad model price list` says it.")],
    project: InProject = "default",
    as_json: Json = False,
) -> None:
    """Take a price of the project away; what holds then counts again."""
    ApiClient.from_environment().request("DELETE", f"{_path(project)}/{path_part(price_id)}")
    typer.echo(json.dumps({"removed": price_id}) if as_json else plain(f"{price_id} is gone"))


def read_price(texts: list[str]) -> dict[str, Any]:
    """Read `WHAT:DECIMAL` into the words of the API; refuses with `InvalidInput`. Amounts are judged by control."""
    said: dict[str, str] = {}
    for text in texts:
        what, colon, amount = text.partition(":")
        if not colon or not amount or what not in (*BY_TOKEN, *UNITS) or what in said:
            raise InvalidInput(
                f"{text[:80]!r} is no price, or says again what another one said",
                hint=f"such as input:0.15 output:0.6 image:0.04; {', '.join((*BY_TOKEN, *UNITS))}",
            )
        said[what] = amount
    units = {what: amount for what, amount in said.items() if what in UNITS}
    if ("input" in said) != ("output" in said) or not (units or "input" in said):
        raise InvalidInput(
            "a price needs input and output, both or none, or something else that is charged",
            hint="what costs nothing is 0: input:0.15 output:0",
        )
    tokens = {what: amount for what, amount in said.items() if what in BY_TOKEN}
    return {"input": "0", "output": "0", **tokens, "units": units}


def shown_price(price: dict[str, Any] | None) -> str:
    """Return a price of the API for people: tokens in and out, then the rest by name."""
    if price is None:
        return "unknown"
    rest = [f"{name} {amount}" for name, amount in price["units"].items()]
    rest += [f"batch {price['batch']}"] if price["batch"] else []
    more = f", {', '.join(rest)}" if rest else ""
    return f"{price['input']} / {price['output']}{more} {price['currency']} ({price['source']})"


def _path(project: str) -> str:
    return f"/api/v1/projects/{path_part(project)}/model-prices"
