"""Thirty faults of the many that `make faults` does: the same each time, some of every kind that is quick."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import pytest

from tests.faults import damage
from tests.faults.at_writes import POINTS
from tests.faults.checks import LossError
from tests.faults.harness import Harness
from tests.faults.scenes import SCENES

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")

OTHERS = ["two-at-once:1", "two-resumes:0", "concurrent-writes:0", "server:0", "server:6", "source:7", "file-limit:1"]


def thirty(harness: Harness) -> list[str]:
    draw = random.Random(2026)
    scenes = [scene for scene in SCENES if scene.in_suite]
    names = []
    for at, kind in enumerate([*POINTS, "kill", "torn", "full", "term", "kill"]):
        scene = scenes[at % len(scenes)]
        harness.bench.learn(scene)
        names.append(f"{kind}:{scene.name}:{draw.randrange(harness.bench.n_points[scene.name])}")
    for target in draw.sample([target for target in damage.TARGETS if target.run == "subject"], 6):
        names.append(f"damage:subject/{target.file}:{draw.choice(list(damage.WAYS))}")
    return [*names, *OTHERS, "many-at-once:6"]


def test_thirty_faults_lose_nothing(tmp_path: Path) -> None:
    losses = []
    with Harness(tmp_path / "arena") as harness:
        names = thirty(harness)
        for name in names:
            try:
                harness.do(name)
            except LossError as error:
                losses.append(f"{name}: {error}\n    again: python -m tests.faults {name}")
    assert len(names) == 30
    assert not losses, "\n" + "\n".join(losses)
