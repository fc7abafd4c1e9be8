"""Item-kNN's fit with 100 neighbours, from a table to a model that can recommend, against implicit's from a matrix."""

from __future__ import annotations

from side_by_side import in_turns, interactions, peer, report, seconds_of

from recctl.models.item_knn import ItemKNNRecommender


def main() -> None:
    """Print a line for each data set."""
    for data, rows in interactions():
        ItemKNNRecommender().fit(rows.iloc[:1000])
        with peer("implicit", "implicit", rows) as implicit:
            ours = lambda rows=rows: seconds_of(lambda: ItemKNNRecommender(n_neighbors=100).fit(rows))  # noqa: E731
            report("item-knn: fit", data, in_turns({"recctl": ours, "implicit": implicit}, repeats=9))


if __name__ == "__main__":
    main()
