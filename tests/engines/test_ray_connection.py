"""Connecting to a Ray cluster, and addresses at which there is none."""

import os
import socket
import sys
from pathlib import Path
from threading import Thread

import pytest

from recctl import engines
from recctl.config.schema import EngineConfig
from recctl.engines.ray_engine import import_ray
from recctl.errors import ConfigError
from tests.conftest import skip_without

skip_without("ray", "pip install 'recctl[ray]'")


@pytest.mark.parametrize("verb", ["train", "fit", "tune", "compare small.yaml"])
def test_unreachable_cluster_creates_no_run(recctl, workdir: Path, verb: str) -> None:
    done = recctl(*verb.split(), "small.yaml", "--engine", "ray=127.0.0.1:1")
    assert done.code == 2
    assert "engine.address: no Ray cluster at '127.0.0.1:1': Connection refused; start one with" in done.err
    assert not (workdir / "runs").exists()


@pytest.mark.parametrize("verb", [["evaluate"], ["export", "-f", "embeddings"], ["train", "--resume"]])
def test_engine_option_overrides_the_engine_of_a_run(recctl, workdir: Path, verb: list[str]) -> None:
    recctl("train", "small.yaml", "--set", "model.name=als", "--set", "model.params={n_factors: 4}")
    done = recctl(*verb, "latest", "--engine", "ray=127.0.0.1:1")
    assert done.code == 2
    assert "no Ray cluster" in done.err
    assert recctl(*verb, "latest", "--engine", "rey").code == 2
    assert recctl(*verb, "latest", "--engine", "local").code == 0


def test_other_server_at_the_address_is_reported() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            connection, _ = server.accept()
            connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            connection.close()

        Thread(target=answer).start()
        config = EngineConfig(name="ray", address=f"127.0.0.1:{server.getsockname()[1]}")
        with pytest.raises(ConfigError, match="the server at this address does not speak gRPC"), engines.opened(config):
            pass


def test_ray_settings_in_the_environment_take_precedence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_worker_lease_timeout_milliseconds", "700")
    monkeypatch.delenv("RAY_USAGE_STATS_ENABLED", raising=False)
    import_ray()
    assert os.environ["RAY_worker_lease_timeout_milliseconds"] == "700"  # noqa: SIM112 - as Ray spells it
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"


def test_missing_ray_names_the_extra_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r"ray is not installed: pip install 'recctl\[ray\]'"):
        import_ray()
