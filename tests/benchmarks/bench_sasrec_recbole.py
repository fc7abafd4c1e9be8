"""How well SASRec ranks beside RecBole's: as `bench_sasrec` does it beside RecTools', but this takes hours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pandas as pd
from bench_sasrec import Step, peer, quality


@contextmanager
def recbole(rows: pd.DataFrame, held: pd.DataFrame, dropout: float) -> Iterator[Step]:
    """A function that trains an epoch and gives hit rate and NDCG at 10."""
    with peer("recbole", rows, 0, dropout, held) as ask:
        yield lambda: ask()[2:]


if __name__ == "__main__":
    quality("RecBole", recbole)
