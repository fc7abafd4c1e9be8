import json
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recctl.data.dataset import InteractionDataset
from recctl.data.splitting import HISTORY, PART_NAMES, STRATEGIES, TEST, TRAIN, UNUSED, VALIDATION, Split, make_split
from recctl.errors import ConfigError, DataError

rows = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 9), st.integers(0, 12)), min_size=1, max_size=60)
fractions = st.floats(0.01, 0.6)


def dataset_of(drawn, timed=True):
    frame = pd.DataFrame(drawn, columns=["user_id", "item_id", "timestamp"])
    return InteractionDataset(frame if timed else frame.drop(columns="timestamp"))


@pytest.fixture
def dataset():
    """1,000 interactions of 50 users, in random order of time."""
    rng = np.random.default_rng(0)
    return dataset_of(np.column_stack([rng.integers(0, 50, 1000), rng.integers(0, 80, 1000), rng.permutation(1000)]))


def split_or_none(dataset, strategy, **options):
    """The split, or None if the data is too small for it, which raises a DataError."""
    try:
        return make_split(dataset, strategy, **options)
    except DataError:
        return None


OPTIONS = [
    ("random", {}),
    ("random", {"within_user": True}),
    ("temporal", {}),
    ("leave_last", {"n": 2}),
    ("user", {"fold_in": 0.5}),
    ("k_fold", {"n_folds": 4, "fold": 3}),
]


@pytest.mark.parametrize(("strategy", "options"), OPTIONS)
class TestEveryStrategy:
    def test_equal_seeds_give_equal_splits(self, dataset, strategy, options):
        first, again, other = (make_split(dataset, strategy, val_size=0.1, seed=s, **options) for s in (7, 7, 8))
        assert first.hash() == again.hash()
        assert first.parts.dtype == np.uint8
        np.testing.assert_array_equal(first.parts, again.parts)
        if strategy not in ("temporal", "leave_last"):
            assert first.hash() != other.hash()

    def test_parts_divide_the_interactions(self, dataset, strategy, options):
        split = make_split(dataset, strategy, val_size=0.1, **options)
        parts = [split.train(dataset), split.validation(dataset), split.test(dataset)]
        histories = [part.history for part in parts if part.history is not None]
        everything = pd.concat([part.data for part in parts + histories])
        columns = ["timestamp", "user_id", "item_id"]
        pd.testing.assert_frame_equal(
            everything.sort_values(columns, ignore_index=True), dataset.data.sort_values(columns, ignore_index=True)
        )

    def test_val_size_zero_gives_no_validation_part(self, dataset, strategy, options):
        split = make_split(dataset, strategy, **options)
        assert not split.has_validation
        assert not (split.parts == VALIDATION).any()

    def test_options_are_stored_as_plain_values(self, dataset, strategy, options):
        split = make_split(dataset, strategy, seed=3, **options)
        assert split.strategy == strategy
        assert json.loads(json.dumps(split.options)) == {"test_size": 0.2, "val_size": 0.0, "seed": 3, **options}

    def test_dataset_split_gives_the_same_parts(self, dataset, strategy, options):
        split = make_split(dataset, strategy, val_size=0.1, seed=5, **options)
        train, val, test = dataset.split(test_size=0.2, val_size=0.1, strategy=strategy, seed=5, **options)
        assert train.content_hash() == split.train(dataset).content_hash()
        assert val.content_hash() == split.validation(dataset).content_hash()
        assert test.content_hash() == split.test(dataset).content_hash()
        assert len(dataset.split(strategy=strategy, **options)) == 2


@pytest.mark.parametrize(("strategy", "options"), [case for case in OPTIONS if case[0] != "leave_last"])
def test_test_part_does_not_depend_on_val_size(dataset, strategy, options):
    with_validation = make_split(dataset, strategy, test_size=0.3, val_size=0.15, **options)
    without = make_split(dataset, strategy, test_size=0.3, **options)
    np.testing.assert_array_equal(with_validation.parts == TEST, without.parts == TEST)


class TestRandom:
    @pytest.mark.parametrize(
        ("test_size", "val_size", "expected"),
        [(0.2, 0.1, [700, 100, 200]), (0.2, 0.0, [800, 0, 200]), (15, 5, [980, 5, 15]), (0.25, 7, [743, 7, 250])],
    )
    def test_sizes_are_exact(self, dataset, test_size, val_size, expected):
        split = make_split(dataset, "random", test_size=test_size, val_size=val_size)
        assert np.bincount(split.parts, minlength=3).tolist() == expected

    @given(rows, fractions, st.sampled_from([0.0, 0.1, 0.35]))
    def test_within_user_holds_out_the_fraction_rounded_down(self, drawn, test_size, val_size):
        dataset = dataset_of(drawn)
        split = split_or_none(dataset, "random", test_size=test_size, val_size=val_size, within_user=True)
        if split is None:
            assert max(np.bincount(dataset.users)) * test_size < 1 or val_size
            return
        counts = np.bincount(dataset.users)
        test = np.bincount(dataset.users[split.parts == TEST], minlength=len(counts))
        held_out = np.bincount(dataset.users[split.parts != TRAIN], minlength=len(counts))
        np.testing.assert_array_equal(test, np.floor(counts * test_size + 1e-9))
        np.testing.assert_array_equal(held_out, np.floor(counts * (test_size + val_size) + 1e-9))

    def test_binary_fractions_are_rounded_down_correctly(self):
        dataset = InteractionDataset(pd.DataFrame({"user_id": 1, "item_id": range(100)}))
        split = make_split(dataset, "random", test_size=0.29, within_user=True)  # 0.29 * 100 is 28.999999999999996
        assert (split.parts == TEST).sum() == 29

    def test_within_user_needs_fractions(self, dataset):
        with pytest.raises(ConfigError, match="within_user=True: test_size and val_size must be fractions"):
            make_split(dataset, "random", test_size=5, within_user=True)
        with pytest.raises(ConfigError, match="within_user='yes': must be true or false"):
            make_split(dataset, "random", within_user="yes")


class TestTemporal:
    @given(rows, fractions, st.sampled_from([0.0, 0.1, 0.3]))
    def test_parts_are_consecutive_and_keep_ties_together(self, drawn, test_size, val_size):
        dataset = dataset_of(drawn)
        split = split_or_none(dataset, "temporal", test_size=test_size, val_size=val_size)
        if split is None:
            assert len(drawn) < 2 / min(test_size, val_size or 1) or len(set(dataset.timestamps)) <= 6
            return
        times = [dataset.timestamps[split.parts == part] for part in (TRAIN, VALIDATION, TEST)]
        for earlier, later in pairwise(times):
            if len(earlier) and len(later):
                assert earlier.max() < later.min()
        assert times[0].max() < times[2].min()
        # No other split point gives a size closer to the requested one.
        ordered, wanted = np.sort(dataset.timestamps), int(test_size * len(drawn) + 0.5)
        starts = [at for at in range(1, len(drawn)) if ordered[at] != ordered[at - 1]]
        around = abs(len(times[2]) - wanted)
        assert around == min(abs(len(drawn) - at - wanted) for at in starts)

    def test_sizes_without_ties_are_exact(self, dataset):
        split = make_split(dataset, "temporal", test_size=0.2, val_size=0.1)
        assert np.bincount(split.parts).tolist() == [700, 100, 200]
        assert (dataset.timestamps[split.parts == TEST] >= 800).all()

    def test_fractional_timestamps_are_split(self):
        frame = pd.DataFrame({"user_id": 1, "item_id": range(4), "timestamp": [0.25, 0.5, 0.75, 1.0]})
        assert make_split(InteractionDataset(frame), "temporal", test_size=0.5).parts.tolist() == [0, 0, 2, 2]

    def test_missing_timestamps_are_rejected(self):
        with pytest.raises(DataError, match="split temporal: the data has no column timestamp"):
            make_split(dataset_of([(1, 1, 1)] * 9, timed=False), "temporal")

    def test_single_timestamp_is_rejected(self):
        with pytest.raises(
            DataError, match=r"no timestamp divides the data \(distinct timestamps: 1, interactions: 9\)"
        ):
            make_split(dataset_of([(1, 1, 1)] * 9), "temporal")

    def test_too_few_timestamps_for_validation_are_rejected(self):
        with pytest.raises(DataError, match="distinct timestamps: 2, interactions: 10"):
            make_split(dataset_of([(1, i, i // 5) for i in range(10)]), "temporal", val_size=0.2)


class TestLeaveLast:
    @pytest.mark.parametrize("timed", [True, False])
    @given(drawn=rows, n=st.integers(1, 3), val_size=st.sampled_from([0.0, 0.1]))
    def test_ties_are_broken_by_row_order(self, timed, drawn, n, val_size):
        dataset = dataset_of(drawn, timed)
        split = split_or_none(dataset, "leave_last", n=n, val_size=val_size)
        expected = np.zeros(len(drawn), np.uint8)
        for user in {user for user, _, _ in drawn}:
            own = [row for row in range(len(drawn)) if drawn[row][0] == user]
            own = sorted(own, key=lambda row: drawn[row][2]) if timed else own
            if len(own) > n * (2 if val_size else 1):
                expected[own[-n:]] = TEST
                if val_size:
                    expected[own[-2 * n : -n]] = VALIDATION
        if split is None:
            assert not expected.any()
        else:
            np.testing.assert_array_equal(split.parts, expected)

    @pytest.mark.parametrize("n", [0, 1.0, True, "1"])
    def test_invalid_n_is_rejected(self, dataset, n):
        with pytest.raises(ConfigError, match="must be a whole number of at least 1"):
            make_split(dataset, "leave_last", n=n)

    def test_too_few_interactions_of_all_users_are_rejected(self):
        with pytest.raises(DataError) as caught:
            make_split(dataset_of([(1, 1, 1), (2, 2, 2)]), "leave_last", n=3)
        assert "nothing is left for test: 2 interactions of 2 users with test_size=0.2, val_size=0.0, n=3" in str(
            caught.value
        )


class TestUser:
    @pytest.mark.parametrize("timed", [True, False])
    @given(drawn=rows, fold_in=st.floats(0.05, 0.95), val_size=st.sampled_from([0.0, 0.2]))
    def test_whole_users_are_held_out_with_a_history(self, timed, drawn, fold_in, val_size):
        dataset = dataset_of(drawn, timed)
        split = split_or_none(dataset, "user", test_size=0.3, val_size=val_size, fold_in=fold_in)
        if split is None:
            assert dataset.n_users < 5 or sum(np.bincount(dataset.users) > 1) < 5
            return
        assert set(np.unique(split.parts)) <= {TRAIN, VALIDATION, TEST, HISTORY}
        for user in range(dataset.n_users):
            parts = split.parts[dataset.users == user]
            if TRAIN in parts:
                assert set(parts) == {TRAIN}
                continue
            assert len(set(parts)) == 2  # history, and either validation or test
            n_history = min(max(1, int(len(parts) * fold_in + 1e-9)), len(parts) - 1)
            assert (parts == HISTORY).sum() == n_history
            if timed:
                times = dataset.timestamps[dataset.users == user]
                assert times[parts == HISTORY].max() <= times[parts != HISTORY].min()
        n_test = len(set(dataset.users[split.parts == TEST]))
        assert n_test == int(0.3 * dataset.n_users + 0.5)

    def test_sizes_may_be_counts_of_users(self, dataset):
        split = make_split(dataset, "user", test_size=5, val_size=3)
        assert split.test(dataset).n_users == 5
        assert split.validation(dataset).n_users == 3

    def test_held_out_parts_have_the_history_of_their_users(self, dataset):
        train, val, test = dataset.split(strategy="user", test_size=0.2, val_size=0.1)
        assert train.history is None
        for part in (val, test):
            assert set(part.history.data["user_id"]) == set(part.data["user_id"])
            assert not set(part.data["user_id"]) & set(train.data["user_id"])

    def test_train_and_validation_includes_the_history_of_validation_only(self, dataset):
        split = make_split(dataset, "user", test_size=0.2, val_size=0.1)
        train, val, test = split.train(dataset), split.validation(dataset), split.test(dataset)
        known = split.train_and_validation(dataset)
        assert len(known) == len(train) + len(val) + len(val.history)
        assert not set(known.data["user_id"]) & set(test.data["user_id"])

    def test_too_few_users_with_two_interactions_are_rejected(self):
        drawn = [(user, 1, 1) for user in range(10)] + [(0, 2, 2)]
        with pytest.raises(
            DataError, match="split user: 2 users to hold out, but only 1 of 10 have two or more interactions"
        ):
            make_split(dataset_of(drawn), "user")

    @pytest.mark.parametrize("fold_in", [0.0, 1.0, 1, "half"])
    def test_invalid_fold_in_is_rejected(self, dataset, fold_in):
        with pytest.raises(ConfigError, match="must be above 0 and below 1"):
            make_split(dataset, "user", fold_in=fold_in)


class TestPredefined:
    dataset = dataset_of([(1, item, 1) for item in range(5)])

    @pytest.mark.parametrize(
        "labels",
        [
            ["train", "validation", "test", "history", "unused"],
            np.array(["train", "val", "test", "history", "unused"]),
            pd.Series(["train", "val", "test", "history", "unused"], dtype="category"),
            [0, 1, 2, 3, 4],
            np.array([0, 1, 2, 3, 4], np.uint8),
        ],
    )
    def test_labels_may_be_names_or_codes(self, labels):
        split = make_split(self.dataset, "predefined", labels=labels)
        assert split.parts.tolist() == [TRAIN, VALIDATION, TEST, HISTORY, UNUSED]
        assert split.has_validation
        assert "labels" not in split.options
        assert len(self.dataset.split(strategy="predefined", labels=labels)) == 3

    def test_missing_validation_labels_are_drawn_from_train(self):
        dataset = dataset_of([(1, item, 1) for item in range(100)])
        labels = ["train"] * 80 + ["test"] * 20
        split = make_split(dataset, "predefined", labels=labels, val_size=0.25)
        assert np.bincount(split.parts).tolist() == [60, 20, 20]
        assert (split.parts[80:] == TEST).all()

    @pytest.mark.parametrize(
        ("labels", "message"),
        [
            (["train"] * 4, r"5 interactions, but labels of shape \(4,\)"),
            (
                ["train"] * 4 + ["tset"],
                "row 4: unknown part 'tset'; the parts are train, validation, test, history",
            ),
            ([0, 0, 9, 0, 0], "row 2: unknown part '9'"),
            ([0, 0, -1, 0, 0], "row 2: unknown part '-1'"),
            (["train", None, "test", "test", "test"], "row 1: unknown part 'None'"),
            (["train"] * 5, "nothing is left for test"),
            (["test"] * 5, "nothing is left for train"),
        ],
    )
    def test_invalid_labels_are_rejected(self, labels, message):
        with pytest.raises(DataError, match=message):
            make_split(self.dataset, "predefined", labels=labels)

    def test_missing_labels_are_rejected(self):
        with pytest.raises(ConfigError, match="labels: must be given"):
            make_split(self.dataset, "predefined")


class TestKFold:
    @given(rows, st.integers(2, 5))
    def test_each_interaction_is_in_exactly_one_test_part(self, drawn, n_folds):
        dataset = dataset_of(drawn)
        if len(drawn) < n_folds:
            return
        splits = [make_split(dataset, "k_fold", n_folds=n_folds, fold=fold) for fold in range(n_folds)]
        tests = np.array([split.parts == TEST for split in splits])
        assert (tests.sum(axis=0) == 1).all()
        assert np.ptp(tests.sum(axis=1)) <= 1

    def test_dataset_k_fold_yields_train_and_test(self, dataset):
        folds = list(dataset.k_fold(n_folds=3, seed=1))
        assert [len(test) for _, test in folds] == [333, 333, 334]
        assert all(len(train) + len(test) == 1000 for train, test in folds)
        assert sorted(np.concatenate([test.timestamps for _, test in folds])) == list(range(1000))

    def test_validation_is_drawn_outside_of_test(self, dataset):
        split = make_split(dataset, "k_fold", val_size=0.1)
        assert np.bincount(split.parts).tolist() == [700, 100, 200]

    @pytest.mark.parametrize("n_folds", [1, 2.0, "3"])
    def test_invalid_n_folds_is_rejected_before_iteration(self, dataset, n_folds):
        with pytest.raises(ConfigError, match=r"n_folds=.*: must be a whole number of at least 2"):
            dataset.k_fold(n_folds=n_folds)

    def test_fold_out_of_range_is_rejected(self, dataset):
        with pytest.raises(ConfigError, match="fold=5: must be below n_folds=5; folds count from 0"):
            make_split(dataset, "k_fold", fold=5)

    def test_more_folds_than_interactions_are_rejected(self):
        with pytest.raises(DataError, match="leave nothing for one of the parts"):
            make_split(dataset_of([(1, 1, 1), (2, 2, 2)]), "k_fold", n_folds=3)


class TestInvalidArguments:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"strategy": "randm"}, "split strategy 'randm': unknown; did you mean random?"),
            ({"strategy": "temporal", "within_user": True}, "split temporal: within_user: unknown option"),
            ({"strategy": "user", "foldin": 0.5}, "split user: foldin: unknown option; did you mean fold_in?"),
            ({"test_size": 1.5}, "test_size=1.5: must be a fraction above 0 and below 1, or a count"),
            ({"test_size": 0}, "test_size=0: must be a fraction"),
            ({"test_size": 0.0}, "test_size=0.0: must be a fraction"),
            ({"test_size": True}, "test_size=True: must be a fraction"),
            ({"test_size": "0.2"}, "test_size='0.2': must be a fraction"),
            ({"test_size": float("nan")}, "test_size=nan: must be a fraction"),
            ({"val_size": -0.1}, "val_size=-0.1: must be 0, a fraction below 1, or a count"),
            ({"val_size": 1.0}, "val_size=1.0: must be 0, a fraction"),
            ({"test_size": 0.6, "val_size": 0.4}, "their sum must be below 1"),
            ({"seed": -1}, "seed=-1: must be a whole number of at least 0"),
            ({"seed": 1.5}, "seed=1.5: must be a whole number"),
        ],
    )
    def test_invalid_argument_is_named(self, dataset, arguments, message):
        with pytest.raises(ConfigError) as caught:
            make_split(dataset, **arguments)
        assert message in str(caught.value)

    def test_all_problems_are_reported_together(self, dataset):
        with pytest.raises(ConfigError) as caught:
            make_split(dataset, "user", test_size=2.0, val_size=-1, fodl_in=1)
        assert len(caught.value.problems) == 3

    @pytest.mark.parametrize(
        "sizes", [{"test_size": 0.0001}, {"test_size": 1000}, {"test_size": 0.9, "val_size": 100}, {"val_size": 0.0001}]
    )
    def test_sizes_that_leave_an_empty_part_are_rejected(self, dataset, sizes):
        with pytest.raises(
            DataError, match="of 1,000 interactions leave nothing for one of the parts; use other sizes"
        ):
            make_split(dataset, "random", **sizes)

    def test_within_user_fraction_that_is_too_small_is_rejected(self, dataset):
        with pytest.raises(DataError, match=r"nothing is left for validation.*within_user=True"):
            make_split(dataset, "random", val_size=0.0001, within_user=True)

    def test_split_of_other_data_is_rejected(self, dataset):
        split = make_split(dataset, "user", val_size=0.1)
        other = dataset.take(np.arange(900))
        for part in (split.train, split.validation, split.test, split.train_and_validation):
            with pytest.raises(DataError, match=r"the split is of 1,000 interactions, but the data has 900"):
                part(other)


def test_part_names_and_codes_do_not_change():
    assert [TRAIN, VALIDATION, TEST, HISTORY, UNUSED] == [0, 1, 2, 3, 4]
    assert PART_NAMES == ("train", "validation", "test", "history", "unused")
    assert list(STRATEGIES) == ["random", "temporal", "leave_last", "user", "predefined", "k_fold", "rolling"]


def test_stored_split_equals_the_original(dataset):
    split = make_split(dataset, "user", val_size=0.1)
    again = Split(np.frombuffer(split.parts.tobytes(), np.uint8), split.strategy, split.options)
    assert again.hash() == split.hash()
    assert again.test(dataset).history.content_hash() == split.test(dataset).history.content_hash()


def test_splits_do_not_change_between_versions():
    """Runs store splits and are compared by them, so a seed must always give the same split."""
    small = dataset_of([(user, item, 10 * item + user) for user in range(4) for item in range(5)])
    assert make_split(small, "random", val_size=0.1).parts.tolist() == [
        0,
        2,
        0,
        0,
        0,
        0,
        0,
        2,
        0,
        0,
        0,
        2,
        0,
        0,
        2,
        0,
        0,
        1,
        0,
        1,
    ]
