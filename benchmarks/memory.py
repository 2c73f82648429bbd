"""Whether a gateway worker's memory stays what it was, over a million requests with the whole request path on.

    python benchmarks/memory.py [--requests 1000000] [--json FILE]

64 connections ask an app with a prompt, in rounds of which one in ten is of streams and one in ten of prompts of 37 KB.
What a worker weighs depends on what its last round left in its pools, so medians of ten rounds, one of each kind, are
compared: of the first ten after a tenth of the requests, and of the last ten, which may differ by 5 %.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from statistics import median

from gateway import LOAD_CPU, PROXY_CPU, app_request, pin, serve_app
from loadgen import pss_mb
from native import load, mock_upstream
from product import free_port, tetrad_up

WITHIN = 0.05
ROUND_S = 2.0
"""A round of a million requests; of fewer it is shorter, so that there are as many."""


def main() -> int:
    """Run it; 1 where the memory did not stay."""
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--requests", type=int, default=1_000_000)
    asked.add_argument("--json", type=Path)
    given = asked.parse_args()
    weighed: list[tuple[int, float]] = []
    with mock_upstream(free_port(), LOAD_CPU) as upstream, tetrad_up(gateway_max_in_flight=4_096) as running:
        serve_app(running, upstream)
        gateway = pin(running, PROXY_CPU)
        kinds = [
            *[(app_request(running, "bench"), "closed")] * 8,
            (app_request(running, "bench-stream", stream=True), "stream"),
            (app_request(running, "bench", size=37_000), "closed"),
        ]
        done = errors = 0
        weighed.append((0, pss_mb(gateway)))
        turn, round_s = 0, max(0.2, ROUND_S * given.requests / 1_000_000)
        while done < given.requests:
            request, mode = kinds[turn % len(kinds)]
            seen = load(request, mode, 64, seconds=round_s, cpu=LOAD_CPU)
            done, errors, turn = done + seen.count, errors + seen.errors, turn + 1
            if running.processes()["gateway-0"] != gateway:
                raise SystemExit("the gateway was started again while it was weighed; see its log")
            weighed.append((done, pss_mb(gateway)))
    kept = [mb for count, mb in weighed if count >= given.requests // 10]
    if len(kept) < 2 * len(kinds):
        raise SystemExit(
            f"{given.requests:,} requests are too few: {len(kept)} rounds were weighed after the first tenth"
        )
    warm, end, most = median(kept[: len(kinds)]), median(kept[-len(kinds) :]), max(kept)
    good = abs(end - warm) <= WITHIN * warm
    print(f"\nMemory of one gateway worker over {done:,} requests, {errors} of them wrong, MB of proportional set size")
    print(f"  idle {weighed[0][1]:.1f}   warm {warm:.1f}   most {most:.1f}   end {end:.1f}   ", end="")
    print(f"limit +-{WITHIN:.0%} {'ok' if good else 'MISSED'}")
    found = {
        "requests": done, "errors": errors, "idle_mb": round(weighed[0][1], 1), "warm_mb": round(warm, 1),
        "most_mb": round(most, 1), "end_mb": round(end, 1), "growth": round(end / warm - 1, 4),
    }  # fmt: skip
    if given.json:
        given.json.write_text(json.dumps(found, indent=1) + "\n")
    return 0 if good and not errors else 1


if __name__ == "__main__":
    raise SystemExit(main())
