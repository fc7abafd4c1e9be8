"""Encoding ids and building the matrix of 20 million interactions, against reading their CSV with Arrow."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv

from recctl.data.dataset import InteractionDataset
from recctl.data.synthetic import generate


def best_of(function: Callable[[], Any], repeats: int = 3) -> tuple[float, Any]:
    """(fastest wall seconds, last result)."""
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        result = function()
        seconds.append(time.perf_counter() - start)
    return min(seconds), result


def with_ids(frame: pd.DataFrame, kind: str) -> pd.DataFrame:
    """The same interactions, with ids of another kind."""
    if kind == "int":
        return frame
    made = {}
    for column in ("user_id", "item_id"):
        codes = frame[column].to_numpy()
        if kind == "int64 hashes":
            names = np.random.default_rng(0).integers(0, 2**63, codes.max() + 1)
        else:
            names = pd.array([f"{column[0]}-{code:08x}" for code in range(codes.max() + 1)], dtype="str")
        made[column] = names[codes]
    return frame.assign(**made)


def main(n: int = 20_000_000) -> None:
    """Print one line for each kind of ids."""
    ordered = generate(n // 144, n // 740, n)
    shuffled = ordered.sample(frac=1, random_state=0, ignore_index=True)
    InteractionDataset(ordered[:1000]).matrix  # noqa: B018 - compiles what is not compiled yet
    cases = [(ordered, "int", "by user"), (shuffled, "int", "shuffled")]
    cases += [(shuffled, "int64 hashes", "shuffled"), (ordered, "text", "by user"), (shuffled, "text", "shuffled")]
    for frame, kind, order in cases:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "interactions.csv"
            pyarrow.csv.write_csv(pa.Table.from_pandas(with_ids(frame, kind), preserve_index=False), path)
            reading, table = best_of(lambda path=path: pyarrow.csv.read_csv(path))
        read = table.to_pandas(split_blocks=True, self_destruct=True)
        del table
        encoding, dataset = best_of(lambda read=read: InteractionDataset(read))
        # The matrix is cached on its data set: each repetition takes a new one.
        building, _ = best_of(lambda dataset=dataset: dataset.take(np.s_[:]).matrix)
        line = {
            "bench": "encode ids and build CSR",
            "data": f"{n / 1e6:.0f}M rows, {kind} ids, {order}",
            "seconds": round(encoding + building, 3),
            "encoding": round(encoding, 3),
            "building": round(building, 3),
            "peer": "pyarrow.csv reading the file",
            "peer_seconds": round(reading, 3),
            "ratio": round((encoding + building) / reading, 3),
        }
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
