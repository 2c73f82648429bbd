"""The keys that lines of batches are called with: by the rights of the key that made the batch, while both last."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import msgspec
import pytest

from tetrad.batches import Batch, BatchKeyGone, Carriage
from tetrad.identity import KeyGrant, hash_secret
from tetrad.kernel import Digest, FixedClock
from tetrad.processes.control._batching import LineGrants
from tetrad.serving import KeyEntry
from tetrad.serving._routing import may_name

KEY = KeyGrant("h1", "key_1", "p", ("data", "pin"), "redacted", 0, "team", (("local/*",),))
BATCH = Batch(
    id="batch_1", project="p", key_id="key_1", protocol="openai", endpoint="/v1/embeddings", input_file="file-1",
    input_digest=Digest("sha256:" + "1" * 64), status="in_progress", created_s=0, expires_s=1000,
)  # fmt: skip
HOUR_NS = 3600 * 10**9


def grants(keys: list[KeyGrant], batches: list[Batch], clock: FixedClock | None = None) -> LineGrants:
    return LineGrants(b"k" * 32, lambda: batches, lambda: keys, clock or FixedClock(), lambda: None)


def test_a_batch_has_the_rights_of_its_key_under_a_secret_of_its_own_until_it_ends() -> None:
    lines = grants([KEY], [BATCH])
    (found,) = lines.grants()
    secret = lines.secret(BATCH)
    assert found == replace(
        KEY, hash=hash_secret(secret), expires_ns=1000 * 10**9 + HOUR_NS, batch="batch_1", priority="low"
    )
    other = msgspec.structs.replace(BATCH, id="batch_2")
    assert lines.secret(other) != secret == grants([KEY], []).secret(BATCH)


def test_a_key_that_ends_before_ends_its_batch_with_it() -> None:
    (found,) = grants([replace(KEY, expires_ns=5)], [BATCH]).grants()
    assert found.expires_ns == 5


@pytest.mark.parametrize(
    "keys",
    [[], [replace(KEY, key_id="key_2")], [replace(KEY, project="q")], [replace(KEY, scopes=("control",))]],
)
def test_without_its_key_a_batch_may_call_nothing(keys: list[KeyGrant]) -> None:
    lines = grants(keys, [BATCH])
    assert list(lines.grants()) == []
    with pytest.raises(BatchKeyGone, match="key_1"):
        lines.secret(BATCH)


def test_a_key_that_was_made_a_moment_ago_is_not_taken_for_revoked() -> None:
    keys: list[KeyGrant] = [replace(KEY, key_id="key_2")]
    lines = grants(keys, [BATCH])
    with pytest.raises(BatchKeyGone, match="key_1"):
        lines.secret(BATCH)
    keys.append(KEY)
    assert lines.secret(BATCH)


HANDED = msgspec.structs.replace(
    BATCH, carriage=Carriage(way="native", batch="b", key={"team": "team", "content": "redacted"})
)


def test_a_batch_that_its_provider_has_is_watched_by_a_right_of_its_own_when_its_key_is_gone() -> None:
    (found,) = grants([], [HANDED]).grants()
    secret = grants([KEY], []).secret(HANDED)
    assert (found.hash, found.batch, found.key_id, found.team) == (hash_secret(secret), "batch_1", "key_1", "team")
    assert (found.content, found.expires_ns) == ("redacted", 1000 * 10**9 + HOUR_NS)
    entry = KeyEntry("key_1", "p", found.scopes, models=found.models)
    assert not may_name(entry, "local/m1")
    assert not may_name(entry, "app:any")
    assert grants([], [HANDED]).remaining(HANDED) == secret


def test_where_nobody_knows_what_a_gone_key_allowed_to_be_kept_nothing_is() -> None:
    strange = msgspec.structs.replace(HANDED, carriage=Carriage(way="native", key={"content": "everything"}))
    for batch in (strange, msgspec.structs.replace(HANDED, carriage=Carriage(way="native"))):
        (found,) = grants([], [batch]).grants()
        assert found.content == "off"


def test_a_key_that_ends_after_its_batch_was_handed_over_does_not_end_that() -> None:
    (found,) = grants([replace(KEY, expires_ns=5)], [HANDED]).grants()
    assert found.expires_ns == 1000 * 10**9 + HOUR_NS
    assert grants([KEY], []).kept(HANDED) == {"team": "team", "content": "redacted"}
    assert grants([], []).kept(HANDED) == {"team": "team", "content": "redacted"}


def test_of_a_key_that_is_being_rotated_the_secret_that_lasts_counts() -> None:
    for keys in ([replace(KEY, expires_ns=5), KEY], [KEY, replace(KEY, expires_ns=5)]):
        (found,) = grants(keys, [BATCH]).grants()
        assert found.expires_ns > 5


def test_a_revoked_key_is_noticed_within_a_second() -> None:
    clock, keys = FixedClock(datetime(2026, 1, 1, tzinfo=UTC)), [KEY]
    lines = grants(keys, [BATCH], clock)
    lines.secret(BATCH)
    keys.clear()
    clock.advance(1.0)
    with pytest.raises(BatchKeyGone):
        lines.secret(BATCH)
