"""The hashes of a manifest are checked with jq and sha256sum."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

from tests.clients.guide import Exports, blocks
from tests.conftest import skip_without

skip_without("onnx", "recctl[onnx]")
skip_without("onnxruntime", "recctl[onnx]")
skip_without(shutil.which("jq"), "jq")
skip_without(shutil.which("sha256sum"), "sha256sum")


def test_shell_commands_of_the_guide_find_a_damaged_file(recctl: Any) -> None:
    Exports(recctl, text=True).export("ONNX in Python")
    (script,) = blocks("Replacing an export", "sh")
    intact = subprocess.run(["bash", "-euo", "pipefail", "-c", script], capture_output=True, text=True)
    assert intact.returncode == 0, intact.stderr
    assert intact.stdout.splitlines() == [
        f"{name}: OK" for name in ("items.json", "items.parquet", "model.onnx", "users.json", "users.parquet")
    ]
    with Path("exports/onnx/items.json").open("a") as file:
        file.write(" ")
    damaged = subprocess.run(["bash", "-euo", "pipefail", "-c", script], capture_output=True, text=True)
    assert damaged.returncode != 0
    assert "items.json: FAILED" in damaged.stdout
