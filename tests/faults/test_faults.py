"""A fixed sample of thirty of the faults of `make faults`, with some of every kind that is fast."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterable, Iterator, Sequence

import pytest

from tests.faults import damage
from tests.faults.checks import LossError
from tests.faults.file_operations import OPERATION_FAULTS
from tests.faults.harness import Harness
from tests.faults.scenarios import SCENARIOS, Scenario

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")

SUITE_SCENARIOS = [scenario for scenario in SCENARIOS if scenario.in_suite]
# Those that take a tenth of a second; the search and the comparison take several.
QUICK_SCENARIOS = [scenario for scenario in SUITE_SCENARIOS if scenario.name not in ("tune", "compare")]

QUICK_EXTERNAL_FAULTS = ["two-at-once:1", "concurrent-writes:0", "server:0", "file-limit:1"]
EXTERNAL_FAULTS = ["two-resumes:0", "server:6", "source:7", "many-at-once:6"]


@pytest.fixture(scope="module")
def harness(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Harness]:
    with Harness(tmp_path_factory.mktemp("faults") / "arena", SUITE_SCENARIOS) as harness:
        yield harness


def operation_faults(harness: Harness, kinds: Sequence[str], scenarios: Sequence[Scenario]) -> list[str]:
    """One fault of each kind at an operation of its scenario; the scenarios take turns."""
    generator = random.Random(2026)
    names = []
    for position, kind in enumerate(kinds):
        scenario = scenarios[position % len(scenarios)]
        harness.bench.run_undisturbed(scenario)
        number = generator.randrange(harness.bench.n_operations[scenario.name])
        names.append(f"{kind}:{scenario.name}:{number}")
    return names


def damage_faults(n: int) -> list[str]:
    generator = random.Random(2026)
    targets = [target for target in damage.TARGETS if target.run == "subject"]
    return [
        f"damage:subject/{target.file}:{generator.choice(list(damage.WAYS))}" for target in generator.sample(targets, n)
    ]


def require_no_loss(harness: Harness, names: Iterable[str]) -> None:
    losses = []
    for name in names:
        try:
            harness.inject(name)
        except LossError as error:
            losses.append(f"{name}: {error}\n    repeat: python -m tests.faults {name}")
    assert not losses, "\n" + "\n".join(losses)


def test_each_kind_of_fault_loses_nothing(harness: Harness) -> None:
    names = operation_faults(harness, list(OPERATION_FAULTS), QUICK_SCENARIOS) + QUICK_EXTERNAL_FAULTS
    assert len(names) == 15
    require_no_loss(harness, names)


@pytest.mark.slow
def test_faults_of_searches_and_comparisons_and_damaged_files_lose_nothing(harness: Harness) -> None:
    scenarios = [scenario for scenario in SUITE_SCENARIOS if scenario not in QUICK_SCENARIOS]
    names = operation_faults(harness, ["kill", "torn", "full", "dead-disk", "term"], scenarios)
    names += damage_faults(6)
    names += EXTERNAL_FAULTS
    assert len(names) == 15
    require_no_loss(harness, names)
