"""First commands after installation: a new installation of recctl without compiled kernels for each of them.

The wheel and its dependencies are installed once into a new environment, which takes some minutes; before each command,
recctl itself is installed again, and the cache of kernels is a new folder. MovieLens-100K comes from the cache of data
sets. For models that are trained in epochs, one epoch is measured: the rest is no part of a cold start.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from side_by_side import print_json, seconds_of

from recctl.models.registry import model_class, model_names

ROOT = Path(__file__).parents[2]
N_REPEATS = 3
TEXT_COMMANDS = (
    "--help",
    "train --help",
    "models",
    "models ease",
    "config schema",
    "config init ease",
    "config validate ease.yaml",
    "data list",
    "export --list",
    "runs list",
)


class Installation:
    """A new environment with recctl's wheel.

    Args:
        folder: An empty folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.python = folder / "venv" / "bin" / "python"
        subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
        self._pip("wheel", "--no-deps", "--wheel-dir", str(folder / "dist"), str(ROOT))
        [self.wheel] = map(str, (folder / "dist").glob("*.whl"))
        self._pip("install", "--constraint", str(ROOT / "constraints.txt"), self.wheel)
        (folder / "ease.yaml").write_bytes((ROOT / "configs" / "ease.yaml").read_bytes())

    def _pip(self, *arguments: str) -> None:
        subprocess.run([self.python, "-m", "pip", "--quiet", *arguments], check=True)

    def cold_seconds(self, *arguments: str) -> float:
        """Median wall time of a command, each time the first one after an installation."""
        seconds = []
        for _ in range(N_REPEATS):
            self._pip("install", "--no-deps", "--force-reinstall", self.wheel)
            with tempfile.TemporaryDirectory() as kernels:
                seconds.append(self._seconds(arguments, kernels))
        return statistics.median(seconds)

    def warm_seconds(self, *arguments: str) -> float:
        """Median wall time of a command after a first one."""
        with tempfile.TemporaryDirectory() as kernels:
            seconds = [self._seconds(arguments, kernels) for _ in range(N_REPEATS + 1)]
        return statistics.median(seconds[1:])

    def _seconds(self, arguments: tuple[str, ...], kernels: str) -> float:
        command = [str(self.python), "-m", "recctl", *arguments]
        environment = os.environ | {"RECCTL_KERNELS_DIR": str(Path(kernels) / "kernels")}
        environment.pop("PYTHONPATH", None)
        return seconds_of(
            lambda: subprocess.run(command, cwd=self.folder, env=environment, check=True, capture_output=True)
        )


def options_of_one_epoch(model: str) -> list[str]:
    """Options that train a model for one epoch."""
    overrides = [f"model.params.{name}=1" for name in model_class(model).parameters if name in ("epochs", "n_epochs")]
    return [word for override in overrides for word in ("--set", override)]


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as directory:
        installation = Installation(Path(directory))
        for command in TEXT_COMMANDS:
            cold = installation.cold_seconds(*command.split())
            print_json({"bench": f"cold: recctl {command}", "data": "", "seconds": round(cold, 3)})
        for model in model_names():
            path = str(ROOT / "configs" / f"{model.replace('-', '_')}.yaml")
            arguments = ("train", path, *options_of_one_epoch(model))
            cold = installation.cold_seconds(*arguments)
            warm = installation.warm_seconds(*arguments)
            line = {"bench": f"cold: recctl train, {model}", "data": "MovieLens-100K", "seconds": round(cold, 2)}
            print_json(
                line | {"peer": "its second run", "peer_seconds": round(warm, 2), "ratio": round(cold / warm, 2)}
            )
        cold = installation.cold_seconds("warmup")
        print_json({"bench": "cold: recctl warmup, all kernels", "data": "", "seconds": round(cold, 2)})
