"""Encoding the ids and building the matrix of 20 million interactions, compared with reading their CSV with Arrow."""

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


def measure_best(function: Callable[[], Any], repeats: int = 3) -> tuple[float, Any]:
    """Returns (smallest wall seconds of the calls, result of the last call)."""
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        result = function()
        seconds.append(time.perf_counter() - start)
    return min(seconds), result


def with_ids(frame: pd.DataFrame, kind: str) -> pd.DataFrame:
    """Replace the ids of interactions by ids of another kind."""
    if kind == "int":
        return frame
    id_columns = {}
    for column in ("user_id", "item_id"):
        codes = frame[column].to_numpy()
        if kind == "int64 hashes":
            ids = np.random.default_rng(0).integers(0, 2**63, codes.max() + 1)
        else:
            ids = pd.array([f"{column[0]}-{code:08x}" for code in range(codes.max() + 1)], dtype="str")
        id_columns[column] = ids[codes]
    return frame.assign(**id_columns)


def main(n: int = 20_000_000) -> None:
    """Print a line for each kind of ids and each order of the rows."""
    ordered = generate(n // 144, n // 740, n)
    shuffled = ordered.sample(frac=1, random_state=0, ignore_index=True)
    InteractionDataset(ordered[:1000]).matrix  # noqa: B018 - compiles the kernels
    cases = [(ordered, "int", "by user"), (shuffled, "int", "shuffled")]
    cases += [(shuffled, "int64 hashes", "shuffled"), (ordered, "text", "by user"), (shuffled, "text", "shuffled")]
    for frame, kind, order in cases:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "interactions.csv"
            pyarrow.csv.write_csv(pa.Table.from_pandas(with_ids(frame, kind), preserve_index=False), path)
            read_seconds, table = measure_best(lambda path=path: pyarrow.csv.read_csv(path))
        rows = table.to_pandas(split_blocks=True, self_destruct=True)
        del table
        encode_seconds, dataset = measure_best(lambda rows=rows: InteractionDataset(rows))
        # A dataset caches its matrix, so each repetition uses a new dataset.
        build_seconds, _ = measure_best(lambda dataset=dataset: dataset.take(np.s_[:]).matrix)
        line = {
            "bench": "encode ids and build CSR",
            "data": f"{n / 1e6:.0f}M rows, {kind} ids, {order}",
            "seconds": round(encode_seconds + build_seconds, 3),
            "encoding": round(encode_seconds, 3),
            "building": round(build_seconds, 3),
            "peer": "pyarrow.csv reading the file",
            "peer_seconds": round(read_seconds, 3),
            "ratio": round((encode_seconds + build_seconds) / read_seconds, 3),
        }
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
