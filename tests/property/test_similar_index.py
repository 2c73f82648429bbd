"""The index of similar questions: no hit ever crosses a partition, whatever was added, and memory is bounded."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tetrad.processes.inference._similar import SimilarIndex

WIDTH = 4


def vector(seed: int) -> bytes:
    found = np.random.default_rng(seed).normal(size=WIDTH).astype("<f4")
    return (found / np.linalg.norm(found)).astype("<f4").tobytes()


partitions = st.sampled_from(["a", "b", "c", "d"])
steps = st.lists(
    st.tuples(st.sampled_from(["add", "find"]), partitions, st.integers(0, 6), st.integers(0, 20)), max_size=60
)


@given(steps, st.integers(1, 4), st.integers(1, 8))
def test_no_hit_crosses_a_partition_and_none_is_dead(
    taken: list[tuple[str, str, int, int]], most_rows: int, most_together: int
) -> None:
    index = SimilarIndex(most_rows=most_rows, most_together=most_together)
    added: dict[str, dict[str, int]] = {}
    for now, (act, partition, seed, ttl) in enumerate(taken):
        if act == "add":
            key = f"{partition}{seed}"
            index.add(partition, vector(seed), key, now + ttl)
            added.setdefault(partition, {})[key] = now + ttl
        else:
            found = index.find(partition, vector(seed), 0.9999, now)
            if found is not None:
                assert found[0] == f"{partition}{seed}"
                assert added[partition][found[0]] > now
        assert index.room <= most_together
        assert len(index) <= index.room


@given(st.lists(st.integers(0, 50), min_size=1, max_size=30), st.integers(0, 50))
def test_the_nearest_is_found_as_a_plain_search_finds_it(seeds: list[int], asked: int) -> None:
    index = SimilarIndex(most_rows=100, most_together=1000)
    for seed in seeds:
        index.add("p", vector(seed), str(seed), 10)
    best = max(float(np.frombuffer(vector(s), "<f4") @ np.frombuffer(vector(asked), "<f4")) for s in seeds)
    found = index.find("p", vector(asked), 0.0, 0)
    if best < 0:
        assert found is None
    else:
        assert found is not None
        assert abs(found[1] - min(best, 1.0)) < 1e-5


@given(st.binary(max_size=40).filter(lambda data: len(data) % 4 == 0))
def test_vectors_of_another_length_are_never_similar(data: bytes) -> None:
    index = SimilarIndex(most_rows=4, most_together=4)
    index.add("p", vector(1), "k", 10)
    found = index.find("p", data, 0.0, 0)
    assert found is None or len(data) == 4 * WIDTH
