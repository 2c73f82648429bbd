"""How often the cache of similar questions answers, and how often wrongly, by threshold, on real questions.

    BENCH_DATA=FOLDER python benchmarks/semantic_cache.py [--queries 5000] [--seed 7] [--json FILE]

Banking77 (PolyAI, CC BY 4.0; `banking77_train_10003.csv` with the columns text and category, in the folder that
BENCH_DATA names) has questions of a bank's customers with one of 77 intents each. They come one after the other, in a
random order and without equal ones, which the exact cache would answer. A question whose nearest stored one reaches the
threshold is a hit and is not stored; a hit is false where the intents differ. Vectors are those of the gateway's own
embedding model; questions with other figures or negations are never compared. The default threshold must keep false
hits at 1 % of hits or less.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import sys
import time
from pathlib import Path

import numpy as np

from tetrad.adapters.engines.bundled import EMBEDDING_MODEL, EMBEDDING_TOKENIZER
from tetrad.kit.home import SETTINGS as INSTALLATION
from tetrad.kit.home import cache_folder
from tetrad.kit.package_index import fetch_member
from tetrad.kit.settings import load_settings
from tetrad.processes.inference._embedder_child import MiniLm
from tetrad.processes.inference._wire import Load, Vectors
from tetrad.serving._cache_key import sharp_words
from tetrad.serving._model import SEMANTIC_THRESHOLD

NAME = "banking77_train_10003.csv"
THRESHOLDS = (0.8, 0.85, 0.9, 0.92, 0.94, 0.95, 0.96, 0.97, 0.975, 0.98, 0.985, 0.99)
MOST_FALSE = 0.01


def read_questions(path: Path, count: int, seed: int) -> list[tuple[str, str]]:
    """Return so many (text, intent) in a random order, each text once."""
    with path.open(newline="", encoding="utf-8") as file:
        found = {row["text"].strip(): row["category"] for row in csv.DictReader(file)}
    questions = sorted(found.items())
    random.Random(seed).shuffle(questions)
    return questions[:count]


def vectors_of(texts: list[str]) -> np.ndarray:
    """Embed as the inference process does."""
    folder = cache_folder(load_settings([INSTALLATION], partial=True))
    model, tokenizer = (
        fetch_member(file.project, f"=={file.version}", file.member, file.digest, folder)
        for file in (EMBEDDING_MODEL, EMBEDDING_TOKENIZER)
    )
    embedder = MiniLm(Load(str(model), str(tokenizer), threads=os.cpu_count() or 1, max_tokens=512))
    found = embedder.embed(texts)
    if not isinstance(found, Vectors):
        raise SystemExit(f"text {found.index} is too long for the embedding model")
    return np.frombuffer(found.data, "<f4").reshape(len(texts), -1)


def replay(scores: np.ndarray, intents: list[str], threshold: float) -> tuple[int, int]:
    """Return (hits, false hits) when questions come one after the other."""
    stored: list[int] = []
    hits = wrong = 0
    for now in range(len(intents)):
        if stored:
            row = scores[now, stored]
            best = int(row.argmax())
            if row[best] >= threshold:
                hits += 1
                wrong += intents[stored[best]] != intents[now]
                continue
        stored.append(now)
    return hits, wrong


def main() -> int:
    """Measure, print a table, tell whether the default keeps its promise."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queries", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    path = Path(os.environ.get("BENCH_DATA", "bench-data")) / NAME
    if not path.is_file():
        print(f"\nSKIPPED: semantic cache: there is no {str(path)!r}; set BENCH_DATA to the folder that holds {NAME}")
        return 0
    questions = read_questions(path, options.queries, options.seed)
    started = time.perf_counter()
    vectors = vectors_of([text for text, _ in questions])
    took_s = time.perf_counter() - started
    scores = vectors @ vectors.T
    figures = np.array([hash(tuple(sharp_words(text))) for text, _ in questions])
    scores[figures[:, None] != figures[None, :]] = -1.0  # they lie in different partitions
    intents = [intent for _, intent in questions]
    print(f"\nSimilar questions: {len(questions):,} of Banking77, {len(set(intents))} intents, seed {options.seed}")
    print(f"  embedding takes {took_s / len(questions) * 1000:.1f} ms a question")
    print("  threshold   hit rate   false of hits   false of all")
    results = {}
    for threshold in sorted({*THRESHOLDS, SEMANTIC_THRESHOLD}):
        hits, wrong = replay(scores, intents, threshold)
        false_rate = wrong / hits if hits else 0.0
        results[str(threshold)] = {"hits": hits, "false_hits": wrong, "queries": len(questions)}
        mark = "   the default" if threshold == SEMANTIC_THRESHOLD else ""
        print(
            f"  {threshold:9.3f}   {hits / len(questions):8.2%}   {false_rate:13.2%}   "
            f"{wrong / len(questions):12.3%}{mark}"
        )
    if options.json:
        options.json.write_text(
            json.dumps({"seed": options.seed, "default": SEMANTIC_THRESHOLD, "thresholds": results}, indent=1)
        )
    chosen = results[str(SEMANTIC_THRESHOLD)]
    good = chosen["false_hits"] <= MOST_FALSE * chosen["hits"]
    print(f"  false hits at the default: limit {MOST_FALSE:.0%} of hits {'ok' if good else 'MISSED'}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
