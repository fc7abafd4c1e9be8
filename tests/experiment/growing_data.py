"""A source that grows day by day, for tests of retraining; figures are recounted from its rows in plain Python."""

import random
from pathlib import Path

BEGIN = 1_700_000_000
DAY = 86_400

Row = tuple[int, int, int, int]  # user, item, rating, timestamp


def rows_until(n_days: int) -> list[Row]:
    """The rows of the first days: 200 a day, each pair once."""
    draw = random.Random(11)
    rows: dict[tuple[int, int], Row] = {}
    for day in range(n_days):
        n_before = len(rows)
        while len(rows) < n_before + 200:
            user = draw.randrange(1, 61)
            item = min(int(draw.expovariate(0.08)), 59) + 1
            moment = BEGIN + day * DAY + draw.randrange(DAY)
            rating = 1 + user % 2 + item % 2 + draw.randrange(3)  # some of it can be learned
            rows.setdefault((user, item), (user, item, rating, moment))
    return sorted(rows.values(), key=lambda row: row[3])


def write(path: Path, rows: list[Row]) -> None:
    """Write rows as CSV."""
    lines = [f"{user},{item},{rating},{moment}\n" for user, item, rating, moment in rows]
    path.write_text("user_id,item_id,rating,timestamp\n" + "".join(lines))


EASE = """data: {source: d.csv}
split: {strategy: temporal, test_size: 0.1, val_size: 0.1}
model: {name: ease, params: {l2_reg: 20.0}}
evaluation: {metrics: [ndcg, recall], k_values: [10]}
"""
SVD = """data: {source: d.csv}
split: {strategy: leave_last, val_size: 1}
model: {name: svd, params: {n_factors: 4, n_epochs: 40, lr: 0.05}}
training: {early_stopping: {patience: 2}}
evaluation: {metrics: [rmse, ndcg], k_values: [10]}
"""
