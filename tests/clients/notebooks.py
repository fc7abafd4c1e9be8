"""The notebooks of docs/: executed in an empty folder, with outputs that do not depend on the machine.

`python -m tests.clients.notebooks` (`make notebooks`) executes all of them and stores their outputs.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))

_TIMEOUT = 300  # seconds of a cell, on a loaded machine
# Warnings name the file that IPython writes for a cell.
_CELL_FILE = re.compile(r"\S*ipykernel_\d+[/\\]\d+\.py:(\d+)")


def execute(source: Path, folder: Path) -> Any:
    """Return a notebook with the outputs of a new execution.

    Args:
        source: The notebook; its outputs are not used.
        folder: An empty folder, the working directory of the notebook.
    """
    return execute_notebook(nbformat.read(source, as_version=4), folder)


def execute_notebook(notebook: Any, folder: Path) -> Any:
    """As `execute`, of a notebook in memory."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RECCTL_")}
    # `!recctl` is the command of this environment, which need not be activated.
    environment["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), environment.get("PATH", "")])
    environment["PYTHONPATH"] = str(ROOT)
    # Kernels of tests that run in parallel would share the database of IPython's history.
    environment["IPYTHONDIR"] = str(folder / ".ipython")
    client = NotebookClient(
        notebook, timeout=_TIMEOUT, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    )
    client.execute(env=environment)
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # times
        for output in cell.get("outputs", []):
            if "text" in output:
                output.text = _CELL_FILE.sub(r"cell:\1", output.text)
        _merge_streams(cell)
    notebook.metadata = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    return notebook


def outputs_of(notebook: Any) -> list[str]:
    """The text or HTML of every output."""
    texts = []
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if output.output_type == "error":
                texts.append(f"{output.ename}: {output.evalue}")
            elif output.output_type == "stream":
                texts.append(output.text)
            else:
                texts.append(output.data.get("text/html") or output.data["text/plain"])
    return texts


def _merge_streams(cell: Any) -> None:
    """Join outputs of one stream that follow each other: how they are divided depends on time."""
    merged: list[Any] = []
    for output in cell.get("outputs", []):
        if merged and output.output_type == "stream" == merged[-1].output_type and output.name == merged[-1].name:
            merged[-1].text += output.text
        else:
            merged.append(output)
    if "outputs" in cell:
        cell.outputs = merged


if __name__ == "__main__":
    for path in NOTEBOOKS:
        with tempfile.TemporaryDirectory() as temporary:
            executed = execute(path, Path(temporary))
        nbformat.write(executed, path)
        print(path.relative_to(ROOT))
