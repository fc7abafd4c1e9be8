"""Fits in several threads of a program, and in a process that was forked after a fit."""

from __future__ import annotations

import os
import signal
import sys
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch

from recctl import make_model
from recctl.engines import torch_threads
from recctl.errors import RecctlWarning, TrainingError
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


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("name", ["lightgcn", "ncf"])
def test_process_forked_after_a_fit_can_fit(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECCTL_THREADS", "2")
    # Large enough for a parallel loop: OpenMP's threads, which the child does not have, exist from now on.
    with torch_threads(2):
        torch.ones(200_000).exp_()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always", RecctlWarning)
                model = make_model(name, **MODELS[name] | {"embedding_dim": 64, "epochs": 1}).fit(toy())
            is_told = any("torch uses one thread in this process" in str(each.message) for each in caught)
            code = 0 if is_told and len(model.recommend([100], k=3)) == 3 else 2
        except TrainingError as error:
            code = 3 if "'spawn'" in str(error) else 4
        finally:
            os._exit(code)
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            # If an earlier test trained on the device of `shim_device`, as on a GPU, torch refuses: an error, no hang.
            codes = (0, 3) if "tests.models.shim_device" in sys.modules else (0,)
            assert os.waitstatus_to_exitcode(status) in codes
            return
        time.sleep(0.05)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    pytest.fail("the child hangs")
