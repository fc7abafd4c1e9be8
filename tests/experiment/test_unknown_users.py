"""`evaluation.on_unknown`: what users count for that the model was not fitted on."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from recctl import RunStore, experiment

CONFIG = """\
data: {source: events.csv}
split: {strategy: temporal, test_size: 0.25}
model: {name: ease}
evaluation: {metrics: [recall], k_values: [3], on_unknown: popular, segments: [new_users]}
"""


def test_new_users_get_popular_items_in_a_run(workdir: Path) -> None:
    # Users 0 to 7 first, then 8 and 9, who are only in test; item 0 is the most popular one.
    known = [(user, item) for user in range(8) for item in {0, 1 + user % 4, 5 + user % 3}]
    new = [(8, 0), (8, 3), (9, 6), (0, 4), (1, 3), (2, 1), (3, 2), (4, 7)]
    table = pd.DataFrame(known + new, columns=["user_id", "item_id"])
    table.assign(timestamp=range(1_700_000_000, 1_700_000_000 + len(table))).to_csv("events.csv", index=False)
    Path("popular.yaml").write_text(CONFIG)
    run = experiment.train(experiment.load("popular.yaml"), RunStore("runs"))
    record = run.evaluation("test")
    assert record is not None
    assert record.protocol["on_unknown"] == "popular"
    counts = record.counts["ranking"]
    assert (counts["n_popular"], counts["n_skipped"]) == (2, 0)
    model = experiment.load_version(run)
    served = model.recommend([8, 9], k=3, on_unknown="popular").groupby("user_id")["item_id"].agg(set)
    expected = {8: len(served[8] & {0, 3}) / 2, 9: len(served[9] & {6})}
    per_user = run.per_user("test").set_index("user_id")["recall@3"]
    assert per_user[[8, 9]].to_dict() == expected
    new_users = [segment for key, segment in record.segments.items() if key.startswith("new_users")]
    assert any(segment["n_users"] == 2 for segment in new_users)
