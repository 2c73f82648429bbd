"""What people watch of routes and providers stands on the metrics page."""

from __future__ import annotations

from pathlib import Path

from tetrad.kernel import SystemClock
from tetrad.kit.spool import SpoolFolder, SpoolWriter
from tetrad.processes.gateway._metrics import Metrics, render
from tetrad.processes.gateway._worker import _with_left_out
from tetrad.serving import AnswersState, Cache, GatewayHealth, MemoryAnswers, ServerRest, TargetHealth


def test_targets_keys_and_gates_are_samples_with_names_that_cannot_break_the_page(tmp_path: Path) -> None:
    metrics = Metrics("0")
    target = TargetHealth('default/"smart"', "acme/big", "half_open", 2, False, None, {"ok": 3, "timeout": 1})
    metrics.routes = lambda: GatewayHealth(
        (target,),
        {"acme": {"ready": 1, "cooling": 0, "retired": 2}},
        {"acme": {"limit": 7.5, "in_flight": 7, "waiting": 5, "refused": 4}},
    )
    rest = ServerRest("default", "files", "tools/list", "probing", 2, 9.0, 0.0, "tool_server_timeout", "no answer")
    over = ServerRest("default", "files", "initialize", "due", 2, 9.0, 0.0, "tool_server_timeout", "no answer")
    metrics.tool_rests = lambda: (rest, over)
    folder = SpoolFolder.claim_own(tmp_path, "0")
    writer = SpoolWriter(folder, cap_bytes=1_000_000, segment_bytes=100_000)
    page = render([metrics.snapshot(writer, {})]).decode()
    folder.close()
    labels = 'worker="0",route="default/\\"smart\\"",model="acme/big"'
    for line in (
        f'tetrad_gateway_target_calls_total{{{labels},outcome="timeout"}} 1',
        f"tetrad_gateway_target_state{{{labels}}} 1",
        f"tetrad_gateway_target_in_flight{{{labels}}} 2",
        'tetrad_gateway_provider_keys{worker="0",upstream="acme",state="retired"} 2',
        'tetrad_gateway_provider_limit{worker="0",upstream="acme"} 7.5',
        'tetrad_gateway_provider_waiting{worker="0",upstream="acme"} 5',
        'tetrad_gateway_tool_server_rests{worker="0",project="default",server="files",method="tools/list"} 1',
        'tetrad_gateway_tool_server_rests{worker="0",project="default",server="files",method="initialize"} 0',
        'tetrad_gateway_provider_refused_total{worker="0",upstream="acme"} 4',
    ):
        assert line in page.splitlines()


def test_what_the_cache_left_out_is_told_by_place_and_the_servers_share_is_among_what_was_not_sent_to_it(
    tmp_path: Path,
) -> None:
    metrics = Metrics("0")
    metrics.cache = Cache(MemoryAnswers(most_bytes=1, most_entries=1), SystemClock())
    metrics.cache.counts.dropped.update(disk=2, server=3, questions=4)
    state = AnswersState("up", "", {"stored": 7, "dropped": 1})
    metrics.answers = lambda: _with_left_out(state, metrics.cache)
    folder = SpoolFolder.claim_own(tmp_path, "0")
    page = render([metrics.snapshot(SpoolWriter(folder, cap_bytes=1_000_000, segment_bytes=100_000), {})]).decode()
    folder.close()
    for line in (
        'tetrad_gateway_cache_dropped_total{worker="0",level="disk"} 2',
        'tetrad_gateway_cache_dropped_total{worker="0",level="server"} 3',
        'tetrad_gateway_cache_dropped_total{worker="0",level="questions"} 4',
        'tetrad_gateway_cache_server_total{worker="0",outcome="dropped"} 4',
        'tetrad_gateway_cache_server_total{worker="0",outcome="stored"} 7',
        'tetrad_gateway_cache_failures_total{worker="0"} 0',
    ):
        assert line in page.splitlines()
