"""``lanai bench seal``: a short run gives the agreed keys."""

import json

from click.testing import CliRunner

from bench.seal import seal


def test_a_short_run_measures_both_paths() -> None:
    """Both paths carry every token; times are positive and the keys are those people rely on."""
    short = ["--runs", "2", "--streams", "2", "--tokens", "4", "--rounds", "1", "--json"]
    result = CliRunner().invoke(seal, short)
    assert result.exit_code == 0, result.output
    value = json.loads(result.stdout)
    assert {"plain_ttft_ms", "sealed_ttft_ms", "throughput_ratio"} <= value.keys()
    assert value["plain_ttft_ms"] > 0
    assert value["sealed_ttft_ms"] > 0
    assert all(level["ratio"] > 0 for level in value["levels"])
