"""The rows for pytest-benchmark: python -m pytest tests/benchmarks/bench_speed.py."""

import time

import pytest

from tests.benchmarks.measure import Missing
from tests.benchmarks.rows import ROWS


@pytest.mark.parametrize("build", ROWS, ids=lambda build: build.__name__)
@pytest.mark.benchmark(timer=time.process_time)
def test_speed(benchmark, build):
    """Time our function; the table times the rivals too."""
    try:
        row = build()
    except Missing as reason:
        pytest.skip(str(reason))
    benchmark.extra_info["work"] = row.work
    benchmark.pedantic(row.call, rounds=5, warmup_rounds=1)
