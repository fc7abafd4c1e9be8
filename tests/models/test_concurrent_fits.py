"""Fits in several threads of a program, and in a process that was forked after a fit."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from recctl import make_model
from recctl.models.base import model_file
from tests.models.suite import toy

MODELS: dict[str, dict[str, Any]] = {
    "ncf": {"epochs": 3, "embedding_dim": 16, "dropout": 0.3},
    "sasrec": {"epochs": 3, "embedding_dim": 64, "dropout": 0.3},
    "lightgcn": {"epochs": 3, "embedding_dim": 64, "edge_dropout": 0.2},
    "als": {"n_factors": 16},
    "ease": {},
    "svd": {"n_epochs": 5},
}


def fitted_digest(name: str) -> str:
    return model_file.digest(make_model(name, **MODELS[name]).fit(toy()))


@pytest.mark.parametrize("names", [("ncf", "ncf"), ("ncf", "sasrec"), ("sasrec", "lightgcn"), ("als", "ease", "svd")])
def test_fits_in_threads_equal_fits_one_after_the_other(
    names: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECCTL_THREADS", "2")
    expected = [fitted_digest(name) for name in names]
    for _ in range(2):
        with ThreadPoolExecutor(len(names)) as pool:
            assert list(pool.map(fitted_digest, names)) == expected


# Runs in a process of its own: what a child can do depends on everything that torch did in the parent before. The first
# child is forked before the parent uses a device.
_FORK = """
import os, sys, warnings
import torch
from recctl import make_model
from recctl.engines import torch_threads
from recctl.errors import RecctlWarning, TrainingError
from tests.models import shim_device
from tests.models.suite import toy

def fit_in_a_child():
    child = os.fork()
    if child:
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if code:
            sys.exit(code)
        return
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", RecctlWarning)
        for name in ("lightgcn", "ncf"):
            try:
                model = make_model(name, embedding_dim=64, epochs=1, device="cpu").fit(toy())
                print(name, "recommends", len(model.recommend([100], k=3)), flush=True)
            except TrainingError as error:
                print(error, flush=True)
    print(sum("torch uses one thread in this process" in str(each.message) for each in caught), "notice", flush=True)
    print("torch's compiler imported:", "torch._dynamo" in sys.modules, flush=True)
    os._exit(0)

# Large enough for a parallel loop: OpenMP's threads, which the child does not have, exist from now on.
with torch_threads(2):
    torch.ones(200_000).exp_()
fit_in_a_child()
torch.ones(3, requires_grad=True).to(shim_device.DEVICE).sum().backward()
fit_in_a_child()
"""


@pytest.fixture(scope="module")
def lines_of_children() -> list[str]:
    """What fits print in a child forked after torch was used on the CPU, and in one forked after a device was used."""
    done = subprocess.run(
        [sys.executable, "-c", _FORK],
        env={**os.environ, "RECCTL_THREADS": "2"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_process_forked_after_torch_was_used_fits_with_a_notice(lines_of_children: list[str]) -> None:
    assert lines_of_children[:3] == ["lightgcn recommends 3", "ncf recommends 3", "1 notice"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_training_does_not_import_the_compiler_of_torch(lines_of_children: list[str]) -> None:
    assert lines_of_children[3] == "torch's compiler imported: False"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_fit_in_a_process_forked_after_a_device_was_used_is_refused_with_advice(lines_of_children: list[str]) -> None:
    lightgcn, ncf, notice, _ = lines_of_children[4:]
    for name, line in (("lightgcn", lightgcn), ("ncf", ncf)):
        assert line.startswith(f"{name}: a process that was forked from one that uses the GPU cannot train a network")
        assert "'spawn'" in line
    assert notice == "1 notice"
