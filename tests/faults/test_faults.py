"""A fixed sample of thirty of the faults of `make faults`, with some of every kind that is fast."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import pytest

from tests.faults import damage
from tests.faults.checks import LossError
from tests.faults.file_operations import OPERATION_FAULTS
from tests.faults.harness import Harness
from tests.faults.scenarios import SCENARIOS

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")

EXTERNAL_FAULTS = [
    "two-at-once:1",
    "two-resumes:0",
    "concurrent-writes:0",
    "server:0",
    "server:6",
    "source:7",
    "file-limit:1",
    "many-at-once:6",
]


SUITE_SCENARIOS = [scenario for scenario in SCENARIOS if scenario.in_suite]


def sample_faults(harness: Harness) -> list[str]:
    generator = random.Random(2026)
    names = []
    for position, kind in enumerate([*OPERATION_FAULTS, "kill", "torn", "full", "term", "kill"]):
        scenario = SUITE_SCENARIOS[position % len(SUITE_SCENARIOS)]
        harness.bench.run_undisturbed(scenario)
        number = generator.randrange(harness.bench.n_operations[scenario.name])
        names.append(f"{kind}:{scenario.name}:{number}")
    targets = [target for target in damage.TARGETS if target.run == "subject"]
    for target in generator.sample(targets, 6):
        names.append(f"damage:subject/{target.file}:{generator.choice(list(damage.WAYS))}")
    return names + EXTERNAL_FAULTS


def test_thirty_faults_lose_nothing(tmp_path: Path) -> None:
    losses = []
    with Harness(tmp_path / "arena", SUITE_SCENARIOS) as harness:
        names = sample_faults(harness)
        for name in names:
            try:
                harness.inject(name)
            except LossError as error:
                losses.append(f"{name}: {error}\n    repeat: python -m tests.faults {name}")
    assert len(names) == 30
    assert not losses, "\n" + "\n".join(losses)
