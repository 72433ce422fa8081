"""A short soak. Real: containerd, the containers, every fault."""

from __future__ import annotations

import pytest

from tests.soak.run import soak

SECONDS = 15.0


@pytest.mark.timeout(300)
def test_a_short_soak_loses_doubles_and_leaks_nothing(request: pytest.FixtureRequest) -> None:
    counts = soak(SECONDS, request.config.option.seed)
    print(counts)
    assert counts.lives
    assert counts.faults
    assert counts.good, str(counts)
