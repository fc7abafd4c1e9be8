import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recctl.data import synthetic
from recctl.data.dataset import InteractionDataset
from recctl.data.description import gini
from recctl.data.synthetic import generate
from recctl.errors import ConfigError
from recctl.rng import stream

PLAIN = {"taste": 0.0, "sequence": 0.0, "drift": 0.0}


def counts_of(column):
    return column.value_counts().to_numpy()


def cluster_of(frame, n_items, n_clusters=10):
    """The cluster of each row's item, made again from the stream of the items."""
    items = synthetic._make_items(n_items, n_clusters, stream(42, "synthetic", "items"))
    cluster = np.empty(n_items + 1, int)
    cluster[items.ids] = np.repeat(np.arange(n_clusters), np.diff(items.cluster_bounds))
    return cluster[frame["item_id"]]


class TestTable:
    def test_table_has_the_documented_size_and_types(self):
        frame = generate(200, 300, 5000)
        assert frame.dtypes.astype(str).to_dict() == {
            "user_id": "int32",
            "item_id": "int32",
            "rating": "float32",
            "timestamp": "int64",
        }
        assert len(frame) == 5000
        assert sorted(frame["user_id"].unique()) == list(range(1, 201))
        assert frame["item_id"].between(1, 300).all()
        assert set(frame["rating"]) == {1, 2, 3, 4, 5}

    def test_pairs_are_distinct(self):
        assert not generate(200, 300, 5000).duplicated(["user_id", "item_id"]).any()

    def test_rows_are_sorted_by_user_and_time(self):
        frame = generate(200, 300, 5000, days=100)
        pd.testing.assert_frame_equal(frame, frame.sort_values(["user_id", "timestamp"], kind="stable"))
        assert frame["timestamp"].between(1_577_836_800, 1_577_836_800 + 100 * 86_400).all()
        assert np.ptp(frame["timestamp"]) > 90 * 86_400

    @pytest.mark.parametrize("size", [(4, 6, 12), (5, 2, 5), (1, 100, 50), (1, 2, 1), (300, 40, 6000)])
    def test_largest_number_of_interactions_is_generated(self, size):
        frame = generate(*size, n_clusters=1)
        assert len(frame.drop_duplicates(["user_id", "item_id"])) == size[2]
        assert frame["user_id"].nunique() == size[0]

    def test_table_does_not_depend_on_the_number_of_threads(self, monkeypatch):
        monkeypatch.setattr(synthetic, "_BLOCK", 1000)
        tables = []
        for threads in ("1", "3"):
            monkeypatch.setenv("RECCTL_THREADS", threads)
            tables.append(generate(300, 200, 9000, seed=3))
        pd.testing.assert_frame_equal(*tables)
        assert not tables[0].equals(generate(300, 200, 9000, seed=4))

    @given(st.lists(st.integers(1, 50), min_size=1, max_size=30), st.integers(1, 50))
    def test_excess_of_busy_users_is_distributed_to_others(self, counts, most):
        counts = np.array(counts)
        if counts.sum() > most * len(counts):
            return
        capped = synthetic._cap_counts(counts, most)
        assert capped.sum() == counts.sum()
        assert capped.max() <= most
        assert (capped >= np.minimum(counts, most)).all()

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"n_users": 0}, "generate: n_users=0: input should be greater than or equal to 1"),
            ({"n_items": 1}, "n_items=1: input should be greater than or equal to 2"),
            ({"n_clusters": 0}, "n_clusters=0: input should be greater"),
            ({"n_clusters": 51}, "n_clusters=51: must be at most n_items (50)"),
            ({"n_interactions": 9}, "n_interactions=9: must be from n_users (10) to half of all pairs (250)"),
            ({"n_interactions": 251}, "to half of all pairs (250)"),
            ({"taste": 1.1}, "taste=1.1: input should be less than or equal to 1"),
            ({"sequence": -0.1}, "sequence=-0.1: input should be greater"),
            ({"sequence": 0.6, "drift": 0.6}, "sequence=0.6, drift=0.6: must be at most 1 together"),
            ({"popularity": -1.0}, "popularity=-1.0: input should be greater"),
            ({"activity": -1.0}, "activity=-1.0: input should be greater"),
            ({"days": 0}, "days=0: input should be greater than 0"),
            ({"days": 100_000}, "days=100000: input should be less"),
            ({"seed": -1}, "seed=-1: must be a whole number of at least 0"),
        ],
    )
    def test_invalid_arguments_are_rejected(self, arguments, message):
        with pytest.raises(ConfigError) as caught:
            generate(**{"n_users": 10, "n_items": 50, "n_interactions": 100, **arguments})
        assert message in str(caught.value)

    def test_all_problems_are_reported_together(self):
        with pytest.raises(ConfigError) as caught:
            generate(10, 50, 100, taste=2, popularity=-1)
        assert len(caught.value.problems) == 2
        with pytest.raises(ConfigError) as caught:
            generate(10, 50, 1, sequence=1, drift=1, n_clusters=60)
        assert len(caught.value.problems) == 3


class TestStructure:
    """Each structure can be measured in the data, and disappears with its parameter."""

    def test_popularity_has_a_long_tail(self):
        uniform, skewed = (generate(2000, 1000, 20_000, popularity=p, **PLAIN) for p in (0.0, 1.1))
        assert gini(counts_of(uniform["item_id"])) < 0.2
        assert gini(counts_of(skewed["item_id"])) > 0.6

    def test_default_popularity_has_a_long_tail(self):
        described = InteractionDataset(generate(2000, 1000, 40_000)).describe()["popularity"]
        assert described["gini"] > 0.45
        assert described["top_20_percent"] > 0.5

    def test_activity_has_a_long_tail(self):
        uniform, skewed = (generate(2000, 1000, 40_000, activity=a) for a in (0.0, 1.0))
        assert gini(counts_of(uniform["user_id"])) < 0.2
        assert gini(counts_of(skewed["user_id"])) > 0.4

    def test_users_prefer_two_clusters(self):
        def share_of_two_best(taste):
            frame = generate(500, 1000, 20_000, sequence=0, drift=0, taste=taste)
            table = pd.crosstab(frame["user_id"], cluster_of(frame, 1000))
            return np.sort(table, axis=1)[:, -2:].sum() / len(frame)

        assert share_of_two_best(0.9) > 0.8
        assert share_of_two_best(0.0) < 0.6

    def test_co_occurrence_predicts_better_than_popularity(self):
        """Hit rates on held-out items of scores by item co-occurrence, and of scores by popularity."""

        def hits(taste):
            dataset = InteractionDataset(generate(1500, 300, 30_000, sequence=0, drift=0, taste=taste))
            train, test = dataset.split(test_size=0.3, within_user=True, seed=1)
            shape = (dataset.n_users, dataset.n_items)
            seen, relevant = np.zeros(shape, np.float32), np.zeros(shape, bool)
            for part, matrix in ((train, seen), (test, relevant)):
                users = dataset.user_vocabulary.codes(part.user_vocabulary.ids)[part.users]
                items = dataset.item_vocabulary.codes(part.item_vocabulary.ids)[part.items]
                matrix[users, items] = 1
            together = seen.T @ seen
            np.fill_diagonal(together, 0)
            popularity = seen.sum(axis=0)
            together /= np.maximum(popularity, 1)[:, None] ** 0.5
            scores = [np.where(seen > 0, -1, score) for score in (seen @ together, np.tile(popularity, (shape[0], 1)))]
            best = [np.argsort(-score, axis=1)[:, :10] for score in scores]
            return [np.take_along_axis(relevant, top, axis=1).mean() for top in best]

        by_taste, by_popularity = hits(0.9)
        assert by_taste > 1.5 * by_popularity
        by_taste, by_popularity = hits(0.0)
        assert by_taste < 1.1 * by_popularity

    def test_items_follow_their_predecessors(self):
        """Learn the most frequent successor of each item from half of the users, and predict the other half with it."""

        def lift(sequence):
            frame = generate(2000, 500, 40_000, sequence=sequence, drift=0, taste=0)
            following = frame["item_id"].shift(-1)[frame["user_id"] == frame["user_id"].shift(-1)].astype(int)
            steps = pd.DataFrame({"item": frame["item_id"], "next": following, "user": frame["user_id"]}).dropna()
            learned, held_out = (steps[steps["user"] % 2 == half] for half in (0, 1))
            guess = learned.groupby("item")["next"].agg(lambda items: items.mode()[0])
            right = (held_out["item"].map(guess) == held_out["next"]).mean()
            return right / (held_out["next"] == learned["next"].mode()[0]).mean()

        assert lift(0.6) > 10
        assert lift(0.0) < 2

    def test_popularity_drifts_over_time(self):
        """Correlation of item popularity in the first and last third of the time, and in two random thirds."""

        def correlations(drift):
            frame = generate(3000, 300, 60_000, sequence=0, drift=drift, taste=0)
            thirds = {
                "time": pd.qcut(frame["timestamp"], 3, labels=False),
                "random": np.random.default_rng(0).integers(0, 3, len(frame)),
            }
            tables = {name: pd.crosstab(frame["item_id"], third) for name, third in thirds.items()}
            return {name: table[0].corr(table[2], method="spearman") for name, table in tables.items()}

        drifting, constant = correlations(0.8), correlations(0.0)
        assert drifting["time"] < drifting["random"] - 0.3
        assert abs(constant["time"] - constant["random"]) < 0.1

    def test_ratings_depend_on_cluster_item_and_user(self):
        frame = generate(1000, 500, 40_000)
        cluster = cluster_of(frame, 500)
        favorite = pd.crosstab(frame["user_id"], cluster).idxmax(axis=1)
        own = cluster == frame["user_id"].map(favorite)
        assert frame["rating"][own].mean() > frame["rating"][~own].mean() + 0.5
        random_half = np.random.default_rng(0).random(len(frame)) < 0.5
        for column in ("user_id", "item_id"):
            means = [frame[half].groupby(column)["rating"].mean() for half in (random_half, ~random_half)]
            assert means[0].corr(means[1]) > 0.3
