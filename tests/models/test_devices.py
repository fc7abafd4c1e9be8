"""The device of a network: which settings are accepted, and which device they select.

No GPU is needed: the tests decide how many torch reports.
"""

import re
from pathlib import Path

import pytest
import torch

from recctl import LightGCNRecommender, NCFRecommender, SASRecRecommender, make_model
from recctl.errors import ConfigError
from recctl.models.nn import devices
from tests.models.suite import toy


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch):
    """A function that makes torch report some CUDA devices, and the environment that of one of torchrun's processes."""

    def pretend(n_devices: int, n_processes: int = 1, local_rank: int = 0) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: n_devices > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: n_devices)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
        if n_processes > 1:
            monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
            for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE"):
                monkeypatch.setenv(name, str(n_processes))
            for name in ("RANK", "LOCAL_RANK"):
                monkeypatch.setenv(name, str(local_rank))

    return pretend


@pytest.mark.parametrize("name", ["ncf", "lightgcn", "mult-vae", "sasrec"])
def test_number_of_a_gpu_is_accepted_by_constructor_and_schema_alike(name: str) -> None:
    schema = make_model(name).parameters["device"].json_schema()
    for value in ("auto", "cpu", "cuda", "cuda:0", "cuda:1", "cuda:12", "mps"):
        assert make_model(name, device=value).device == value
        assert re.search(schema["pattern"], value)
    for value in ("gpu", "cuda:", "cuda:x", "cuda:-1", "cuda:01", "cuda:1 ", "CUDA:1", "mps:1", "cpu:0", ""):
        assert not re.search(schema["pattern"], value)
        with pytest.raises(ConfigError, match=r"device: '.*' should be of the form 'auto', .*'cuda:0'"):
            make_model(name, device=value)


@pytest.mark.parametrize(
    ("setting", "n_devices", "expected"),
    [
        ("auto", 0, "cpu"),
        ("auto", 2, "cuda:0"),
        ("cpu", 2, "cpu"),
        ("cuda", 2, "cuda:0"),
        ("cuda:0", 2, "cuda:0"),
        ("cuda:1", 2, "cuda:1"),
    ],
)
def test_setting_selects_a_device_that_torch_has(gpus, setting: str, n_devices: int, expected: str) -> None:
    gpus(n_devices)
    assert devices.select("ncf", setting, "auto") == torch.device(expected)


@pytest.mark.parametrize(
    ("setting", "n_devices", "found"),
    [
        ("cuda", 0, "no CUDA device"),
        ("cuda:0", 0, "no CUDA device"),
        ("cuda:1", 1, "1 CUDA device, cuda:0"),
        ("cuda:7", 4, "4 CUDA devices, from cuda:0"),
        ("mps", 4, "no such device"),
    ],
)
@pytest.mark.parametrize("model_class", [NCFRecommender, LightGCNRecommender, SASRecRecommender])
def test_missing_device_is_refused_with_what_there_is(
    gpus, model_class, setting: str, n_devices: int, found: str
) -> None:
    gpus(n_devices)
    message = rf"device='{setting}': torch finds {found}; device='auto' uses a GPU"
    with pytest.raises(ConfigError, match=message):
        model_class(device=setting).fit(toy())
    with pytest.raises(ConfigError, match=message):
        model_class(device=setting).require_device()


def test_float16_on_a_cpu_is_refused(gpus) -> None:
    gpus(0)
    for setting in ("cpu", "auto"):
        with pytest.raises(ConfigError, match="precision='float16' needs a GPU"):
            NCFRecommender(device=setting, precision="float16").require_device()


def test_each_process_of_torchrun_has_a_gpu_of_its_own(gpus) -> None:
    for rank in range(3):
        gpus(4, n_processes=3, local_rank=rank)
        assert devices.select("ncf", "cuda", "auto") == torch.device("cuda", rank)
        assert devices.select("ncf", "auto", "auto") == torch.device("cuda", rank)


def test_one_gpu_for_all_processes_of_torchrun_is_refused(gpus) -> None:
    gpus(4, n_processes=2)
    with pytest.raises(ConfigError, match=r"device='cuda:1': torchrun started 2 processes.*CUDA_VISIBLE_DEVICES"):
        devices.select("ncf", "cuda:1", "auto")


def test_more_processes_than_gpus_are_refused(gpus) -> None:
    gpus(2, n_processes=3)
    with pytest.raises(ConfigError, match=r"3 processes on this machine.*finds 2 CUDA.*--nproc-per-node 2"):
        devices.select("ncf", "auto", "auto")


def test_config_with_a_malformed_device_is_refused_at_its_line(recctl, workdir: Path) -> None:
    (workdir / "gpu.yaml").write_text(
        "model:\n  name: sasrec\n  params:\n    device: cuda:x\ndata: {source: synthetic}\n"
    )
    done = recctl("config", "validate", "gpu.yaml")
    assert done.code == 2
    assert "gpu.yaml:4: model.params.device: 'cuda:x' should be of the form" in done.err
