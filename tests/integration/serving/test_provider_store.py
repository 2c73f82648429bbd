"""Providers are kept per project, and a name has one owner."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import pytest

from tetrad.kernel import FixedClock
from tetrad.kit.db import Database
from tetrad.serving import Price, ProviderDirectory, ProviderModel, ProviderSpec
from tetrad.serving._price_origins import PriceOrigin
from tetrad.serving._store import SqlProviderStore
from tetrad.serving.errors import BadProvider, ProviderNotFound

SPEC = ProviderSpec(
    name="acme",
    project="default",
    base_url="https://api.acme.example/v1",
    models=(ProviderModel("big", price=Price("1", "2")), ProviderModel("vectors", ("embeddings",))),
    secret="acme-key",
    internal=False,
)


def test_what_was_put_is_what_is_read_and_every_change_is_told(database: Database) -> None:
    told: list[None] = []
    directory = ProviderDirectory(SqlProviderStore(database, FixedClock()), on_change=lambda: told.append(None))
    directory.put(SPEC)
    assert directory.get("default", "acme") == SPEC
    assert directory.all() == directory.all("default") == [SPEC]
    assert directory.all("other") == []
    directory.drop("default", "acme")
    assert directory.all() == []
    assert len(told) == 2


def test_a_name_belongs_to_the_project_that_took_it_first(database: Database) -> None:
    directory = ProviderDirectory(SqlProviderStore(database, FixedClock()))
    directory.put(SPEC)
    with pytest.raises(BadProvider) as refusal:
        directory.put(msgspec.structs.replace(SPEC, project="other"))
    assert refusal.value.status == 409
    with pytest.raises(ProviderNotFound):
        directory.drop("other", "acme")
    with pytest.raises(ProviderNotFound):
        directory.get("other", "acme")
    assert directory.get("default", "acme") == SPEC


def test_the_origin_of_a_price_is_noted_and_stays_until_the_price_is_another(database: Database) -> None:
    clock = FixedClock()
    directory = ProviderDirectory(SqlProviderStore(database, clock), clock=clock)

    def put(price: Price | None, claimed: PriceOrigin | None, by: str) -> PriceOrigin | None:
        clock.advance(60)
        model = ProviderModel("big", price=price, price_origin=claimed)
        directory.put(msgspec.structs.replace(SPEC, models=(model,)), by=by)
        kept = directory.get("default", "acme").models[0].price_origin
        assert kept is None or kept.at is None or kept.at <= clock.now()
        return kept

    forged = PriceOrigin("litellm", FixedClock().now() + timedelta(days=900), "somebody else")
    imported = put(Price("1", "2"), forged, "ci")
    assert imported == PriceOrigin("litellm", clock.now(), "ci"), "when and by whom is noted, not believed"
    assert put(Price("1", "2"), None, "ann") == imported, "a form that says nothing of it takes nothing away"
    assert put(Price("1", "2"), PriceOrigin("litellm"), "ci") == imported, "it counts since the first time"
    typed = put(Price("3", "2"), None, "ann")
    assert typed == PriceOrigin("", clock.now(), "ann")
    assert put(Price("3", "2"), PriceOrigin("litellm"), "ci") == PriceOrigin("litellm", clock.now(), "ci")
    assert put(None, PriceOrigin("litellm"), "ci") is None
    for source in ("Lite LLM", "-x", "x" * 41):
        with pytest.raises(BadProvider):
            put(Price("1", "2"), PriceOrigin(source), "ci")


def test_a_provider_that_was_stored_without_origins_is_read_and_changed(database: Database) -> None:
    directory = ProviderDirectory(SqlProviderStore(database, FixedClock()))
    directory.put(SPEC)
    assert directory.get("default", "acme").models[0].price_origin is None
    directory.put(SPEC, by="ann")
    assert directory.get("default", "acme").models[0].price_origin is None, "nobody knows since when it counts"


@pytest.mark.parametrize(
    "change",
    [
        {"name": "local"},
        {"name": "Up"},
        {"base_url": "https://"},
        {"base_url": "https://h:0/v1"},
        {"base_url": "https://h/v1?key=1"},
        {"secret": "has spaces"},
        {"models": ()},
        {"adapter": "telepathy"},
        {"adapter": "anthropic"},  # which has no embeddings
        {"connect_timeout_s": 0.0},
        {"secret": "", "secrets": ("more",)},
        {"secrets": ("acme-key",)},
        {"secrets": ("has spaces",)},
        {"secrets": tuple(f"key-{number}" for number in range(32))},
        {"max_concurrency": -1},
        {"max_queue": 100_001},
        {"queue_target_s": 0.0},
        {"max_connections": 0},
        {"base_url": "https://user@h/v1"},
        {"base_url": "https://@h/v1"},
        {"base_url": "https://h\\@127.0.0.1/v1"},
        {"base_url": "https://h/v1#"},
        {"base_url": "https://h/ v1"},
        {"base_url": "unix:///run/docker.sock"},
        {"base_url": "file:///etc/passwd"},
        {"ca": "nothing"},
        {"ca": "-----BEGIN CERTIFICATE-----", "base_url": "http://h/v1"},
    ],
)
def test_what_cannot_be_a_provider_is_refused(change: dict[str, object]) -> None:
    import msgspec

    from tetrad.serving._providers import check_provider

    with pytest.raises(BadProvider):
        check_provider(msgspec.structs.replace(SPEC, **change))
