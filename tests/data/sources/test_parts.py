from __future__ import annotations

import gzip

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from recctl.data.sources import ReadOptions, read_configured_source
from recctl.engines import set_threads, threads
from recctl.errors import DataError

HEADER = "user_id,item_id,rating\n"


@pytest.fixture
def read(tmp_path):
    return lambda source, **options: read_configured_source(source, ReadOptions(**options), base=tmp_path)


@pytest.fixture
def store(tmp_path):
    def make(name, **columns):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table(columns), path)
        return path

    return make


def columns(table):
    return table.frame.to_dict("list")


def test_folder_of_csv_parts_is_one_table(write, read):
    for k in range(3):
        write(f"parts/part-{k}.csv", f"{HEADER}{k},1,3\n{k},{k + 2},5\n")
    for name in ("_SUCCESS", ".part-0.csv.crc", "README.md", "_temporary/part-7.csv"):
        write(f"parts/{name}", "no data")
    write("parts/part-3.csv", "")
    write("parts/part-4.csv", HEADER)
    table = read("parts")
    assert columns(table) == {
        "user_id": [0, 0, 1, 1, 2, 2],
        "item_id": [1, 2, 1, 3, 1, 4],
        "rating": [3, 5, 3, 5, 3, 5],
    }
    files = table.provenance["files"]
    assert [file["file"] for file in files] == [f"parts/part-{k}.csv" for k in range(5)]
    assert [file["rows_read"] for file in files] == [2, 2, 2, 0, 0]
    assert all(len(file["sha256"]) == 64 for file in files)


@pytest.mark.parametrize("pattern", ["parts/*.csv", "parts/part-?.csv", "**/*.csv", "parts/part-[01].csv", "p*"])
def test_patterns_are_read(write, read, pattern):
    write("parts/part-0.csv", HEADER + "1,2,3\n")
    write("parts/part-1.csv", HEADER + "4,5,3\n")
    assert columns(read(pattern))["user_id"] == [1, 4]


def test_pattern_without_match_lists_the_files(write, read):
    write("parts/part-0.csv", HEADER)
    with pytest.raises(DataError, match=r"part-\*\.tsv: no file matches the pattern; .*parts holds part-0\.csv"):
        read("parts/part-*.tsv")
    with pytest.raises(DataError, match=r"parts: none of its 1 files holds a row"):
        read("parts")


def test_file_with_brackets_in_its_name_is_no_pattern(write, read):
    write("r[1].csv", HEADER + "1,2,3\n")
    assert len(read("r[1].csv")) == 1


@pytest.mark.parametrize("kind", ["csv.gz", "jsonl", "inter", "arrow"])
def test_parts_of_any_format_are_read(write, read, tmp_path, kind):
    for k in range(2):
        if kind == "csv.gz":
            write(f"d/{k}.csv.gz", gzip.compress(f"{HEADER}{k},1,3\n".encode()))
        elif kind == "jsonl":
            write(f"d/{k}.jsonl", f'{{"user_id": {k}, "item_id": 1, "rating": 3}}\n')
        elif kind == "inter":
            write(f"d/{k}.inter", f"user_id:token\titem_id:token\trating:float\n{k}\t1\t3\n")
        else:
            (tmp_path / "d").mkdir(exist_ok=True)
            table = pa.table({"user_id": [k], "item_id": [1], "rating": [3.0]})
            with pa.ipc.new_file(tmp_path / f"d/{k}.arrow", table.schema) as writer:
                writer.write_table(table)
    assert columns(read("d")) == {"user_id": [0, 1], "item_id": [1, 1], "rating": [3, 3]}


def test_sequences_go_on_in_the_next_part(write, read):
    write("d/a.txt", "1 2 3\n2 5\n")
    write("d/b.txt", "1 9\n")
    assert columns(read("d", format="sequences")) == {
        "user_id": [1, 1, 2, 1],
        "item_id": [2, 3, 5, 9],
        "timestamp": [0, 1, 0, 2],
    }
    with pytest.raises(DataError, match=r"with data\.user: line users are the lines of one file"):
        read("d", format="sequences", user="line")


def test_columns_are_matched_by_name(write, read, store):
    write("c/a.csv", "user_id,item_id,rating\n1,2,3\n")
    write("c/b.csv", "rating,title,item_id,user_id\n4,x,5,6\n")
    assert columns(read("c")) == {"user_id": [1, 6], "item_id": [2, 5], "rating": [3, 4]}
    with pytest.raises(
        DataError, match=r"c/b\.csv: column 0 is 'rating', in c/a\.csv it is 'user_id'; name the column"
    ):
        read("c", columns={"user_id": 0, "item_id": 1})
    store("p/a.parquet", user_id=pa.array([1, 2], pa.int32()), item_id=[5, 6])
    store("p/b.parquet", x=[0], item_id=pa.array([5], pa.uint8()), user_id=[2**40])
    assert columns(read("p")) == {"user_id": [1, 2, 2**40], "item_id": [5, 6, 5]}


def test_columns_of_the_same_role_and_other_names_are_refused(write, read):
    write("c/a.csv", "user_id,item_id,stars\n1,2,3\n")
    write("c/b.csv", "user_id,item_id,score\n1,2,3\n")
    with pytest.raises(DataError, match="several columns may be rating: stars, score"):
        read("c")


def test_timestamps_of_other_units_are_unified(store, read):
    store("p/a.parquet", user_id=[1], item_id=[2], timestamp=pa.array([1_500_000_000_000], pa.timestamp("ms")))
    store("p/b.parquet", user_id=[1], item_id=[2], timestamp=pa.array([1_500_000_000_000_001], pa.timestamp("us")))
    store("p/c.parquet", user_id=[1], item_id=[2], timestamp=pa.array([1_500_000_000], pa.timestamp("s", "UTC")))
    assert columns(read("p"))["timestamp"] == [1.5e9, 1.5e9 + 1e-6, 1.5e9]


def test_part_without_a_column_is_named(store, read, notices):
    store("p/part-0.parquet", user_id=[1], item_id=[5])
    store("p/part-1.parquet", user_id=[3], item_id=[6], rating=[1.5])
    with pytest.raises(DataError) as caught:
        read("p")
    message = str(caught.value)
    assert message.startswith("p/part-0.parquet: no column 'rating' for rating, which p/part-1.parquet has")
    hint = message.split("set data.columns: ")[1]
    assert columns(read("p", columns=yaml.safe_load(hint))) == {"user_id": [1, 3], "item_id": [5, 6]}
    assert not notices
    assert "rating" not in read("p", needs_ratings=False).columns
    assert notices == [
        "p/part-0.parquet: no column 'rating' for rating, which p/part-1.parquet has; ratings are left out"
    ]


def test_extra_columns_of_parts_are_text(write, read):
    write("p/a.csv", "user_id,item_id,event,rating\n1,2,view,3\n")
    write("p/b.csv", "event,rating,item_id,user_id\nbuy,4,2,1\n")
    found = columns(read("p", extra_columns=("event", "rating")))
    assert found == {"user_id": [1, 1], "item_id": [2, 2], "rating": [3, 4], "event": ["view", "buy"]}
    with pytest.raises(DataError, match=r"no column 'evnt'; did you mean event\?"):
        read("p", extra_columns=("evnt",))


def test_part_without_ids_is_named(store, read):
    store("p/a.parquet", user_id=[1], item_id=[5])
    store("p/b.parquet", user_id=[3], thing=[6])
    with pytest.raises(DataError, match=r"p/b\.parquet: no column 'item_id' for item_id, which p/a\.parquet has"):
        read("p")


def test_part_without_the_header_of_the_others_is_named(write, read):
    write("p/xaa", HEADER + "1,2,3\n4,5,6\n")
    write("p/xab", "7,8,9\n7,9,9\n")
    with pytest.raises(
        DataError, match=r"p/xab: has no header, p/xaa has one \(user_id, item_id, rating\); .*cat p/\*"
    ):
        read("p")
    write("q/a.csv", "1,2,3\n1,3,4\n")
    write("q/b.csv", "1,2\n1,3\n")
    with pytest.raises(DataError, match=r"q/b\.csv: 2 columns, q/a\.csv has 3"):
        read("q")


def test_id_types_are_decided_over_all_parts(write, read, store, notices):
    write("c/a.csv", "user_id,item_id\n1,2\n17850.0,4\n")
    write("c/b.csv", "user_id,item_id\nx,2\n3,4\n")
    assert columns(read("c")) == {"user_id": ["1", "17850.0", "x", "3"], "item_id": [2, 4, 2, 4]}
    assert "c: user_id is text in c/b.csv and whole numbers in c/a.csv; all are read as text" in notices
    store("p/a.parquet", user_id=[1], item_id=[5])
    store("p/b.parquet", user_id=["x"], item_id=[5])
    with pytest.raises(
        DataError, match=r"user_id is text in p/b\.parquet and whole numbers in p/a\.parquet; .*id_type"
    ):
        read("p")
    assert columns(read("p", id_type="text")) == {"user_id": ["1", "x"], "item_id": ["5", "5"]}


def test_files_that_are_no_parts_are_listed(write, read, store):
    write("m/a.csv", HEADER + "1,2,3\n")
    store("m/b.parquet", user_id=[1], item_id=[5])
    with pytest.raises(DataError, match=r"m: files of different formats: m/a\.csv \(csv\); m/b\.parquet \(parquet\)"):
        read("m")
    write("ml/ratings.csv", "userId,movieId,rating\n1,2,3\n")
    write("ml/movies.csv", "movieId,title,genres\n1,a,b\n")
    with pytest.raises(
        DataError, match=r"ml/movies\.csv: no column 'userId' .* use one of them .*movies\.csv, ratings"
    ):
        read("ml")


@pytest.mark.parametrize(
    ("log", "kind"),
    [
        ("_delta_log/0.json", "a Delta Lake table"),
        (".hoodie/hoodie.properties", "an Apache Hudi table"),
        ("metadata/v1.metadata.json", "an Apache Iceberg table"),
    ],
)
def test_tables_with_files_of_earlier_versions_are_refused(write, read, store, log, kind):
    store("t/part-0.parquet", user_id=[1], item_id=[5])
    write(f"t/{log}", "{}")
    with pytest.raises(DataError, match=f"t: is {kind}, whose folder also holds files of earlier versions; export"):
        read("t")


def test_broken_link_is_no_missing_part(write, read, tmp_path):
    write("p/a.csv", HEADER + "1,2,3\n")
    (tmp_path / "p" / "b.csv").symlink_to(tmp_path / "nowhere.csv")
    for source in ("p", "p/*.csv"):
        with pytest.raises(DataError, match=r"b\.csv: is a link to a file that does not exist"):
            read(source)


def test_bad_rows_are_named_by_their_part(write, read, notices):
    write("p/a.csv", HEADER + "1,2,3\n")
    write("p/b.csv", HEADER + "1,2,3\n1,2\n,4,5\n")
    with pytest.raises(DataError, match=r"^p/b\.csv: row 3: "):
        read("p")
    table = read("p", bad_rows="skip")
    assert len(table) == 2
    assert [row["row"] for row in table.provenance["skipped"]] == ["p/b.csv: row 3", "p/b.csv: row 4"]
    assert notices[-1].startswith("p/b.csv: skipped 2 of 3 rows that can't be read; the first: p/b.csv: row 3: ")


def test_the_same_notice_about_many_parts_is_sent_a_few_times(write, read, notices):
    for k in range(9):
        write(f"p/{k}.csv", "1,2,3\n1,3,4\n")
    assert len(read("p")) == 18
    assert len(notices) == 4
    assert notices[-1] == "p: 6 more notices like these, about other parts"


# Hive partitions.


def test_partition_values_follow_the_rule_of_ids(store, read):
    for name, part in (("01", [5, 6]), ("1", [5, 6])):
        store(f"hive/user_id={name}/part.parquet", item_id=part)
    assert columns(read("hive")) == {"user_id": ["01", "01", "1", "1"], "item_id": [5, 6, 5, 6]}
    for name in ("2", "10"):
        store(f"plain/user_id={name}/part.parquet", item_id=[5])
    assert columns(read("plain"))["user_id"] == [2, 10]
    assert columns(read("plain", id_type="text"))["user_id"] == ["2", "10"]


def test_partition_values_are_times_ratings_and_extra_columns(write, read):
    for day in ("2020-01-01", "2020-01-02"):
        write(f"d/date={day}/stars=4/part.csv", "user_id,item_id\n1,2\n3,4\n")
    found = columns(read("d", extra_columns=("date",)))
    assert found["timestamp"] == [1577836800, 1577836800, 1577923200, 1577923200]
    assert found["rating"] == [4] * 4
    assert found["date"] == ["2020-01-01"] * 2 + ["2020-01-02"] * 2
    assert "timestamp" not in columns(read("d", columns={"timestamp": None}))


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_partition_values_are_ids_of_any_format(write, read, store, kind):
    for user in ("7", "x"):
        name = f"d/user_id={user}/part.{kind}"
        if kind == "csv":
            write(name, "item_id,rating\n1,3\n2,4\n")
        elif kind == "jsonl":
            write(name, '{"item_id": 1, "rating": 3}\n{"item_id": 2, "rating": 4}\n')
        else:
            store(name, item_id=[1, 2], rating=[3, 4])
    found = columns(read("d"))
    assert found == {"user_id": ["7", "7", "x", "x"], "item_id": [1, 2, 1, 2], "rating": [3, 4, 3, 4]}


@pytest.mark.parametrize("key", ["user_id", "movieId", "date"])
def test_partitions_of_parts_without_a_header_must_be_mapped(write, read, key):
    for value in ("2020", "2021"):
        write(f"d/{key}={value}/part.csv", "1,3\n2,4\n")
    with pytest.raises(DataError, match=f"d: its parts have no header and are in folders {key}=") as caught:
        read("d")
    mapping = yaml.safe_load(str(caught.value).split("data.columns: ")[1])
    found = columns(read("d", columns=mapping, timestamp_format="%Y" if key == "date" else None))
    assert len(found["user_id"]) == 4
    assert key in mapping.values()


def test_files_without_a_column_that_is_read_are_refused(store, read):
    store("d/user_id=1/item_id=2/part.parquet", x=[0])
    with pytest.raises(DataError, match=r"d: the names of folders hold all columns \(user_id, item_id\)"):
        read("d")


def test_missing_and_escaped_partition_values(store, read):
    store("d/user_id=a%2Fb/part.parquet", item_id=[1])
    store("d/user_id=__HIVE_DEFAULT_PARTITION__/part.parquet", item_id=[2, 3])
    with pytest.raises(DataError, match=r"d/user_id=__HIVE_DEFAULT_PARTITION__/part\.parquet: user_id is missing"):
        read("d")
    table = read("d", bad_rows="skip")
    assert columns(table) == {"user_id": ["a/b"], "item_id": [1]}
    assert table.provenance["rows_skipped"] == 2
    assert [file["rows_read"] for file in table.provenance["files"]] == [0, 1]


def test_part_outside_of_the_partitions_is_named(store, read):
    store("d/user_id=a/part.parquet", item_id=[1])
    store("d/part.parquet", item_id=[2])
    with pytest.raises(DataError, match=r"d/part\.parquet: is in no folder user_id=\.\.\."):
        read("d")


# Splits.


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["train.parquet", "test.parquet"], {"source": "train.parquet", "test": "test.parquet"}),
        (
            ["train-0.parquet", "train-1.parquet", "valid.parquet", "test.parquet"],
            {"source": "train*", "validation": "valid.parquet", "test": "test.parquet"},
        ),
        (["train/0.parquet", "dev/0.parquet"], {"source": "train", "test": "dev"}),
    ],
)
def test_folder_that_looks_like_a_split_is_noted(store, read, notices, tmp_path, names, expected):
    for name in names:
        store(f"d/{name}", user_id=[1], item_id=[2])
    assert len(read("d")) == len(names)
    assert len(notices) == 1
    split = yaml.safe_load(notices[0].split("split: ")[1])
    source = notices[0].split("set data.source: ")[1].split(" and ")[0]
    paths = {key: str(tmp_path / "d" / name) for key, name in expected.items()}
    assert source == paths.pop("source")
    assert split == {"strategy": "predefined", **paths}


def test_other_folders_are_not_noted_as_splits(store, read, notices):
    for name in ("training_set.parquet", "tests.parquet", "latest.parquet"):
        store(f"d/{name}", user_id=[1], item_id=[2])
    assert len(read("d")) == 3
    assert not notices


def test_parts_are_ordered_by_their_numbers(read, write):
    for number in (1, 2, 10):
        write(f"p/part-{number}.csv", f"user_id,item_id,rating\n1,1,{number}\n")
    assert read("p").frame["rating"].tolist() == [1, 2, 10]


def test_backup_copies_are_left_out_with_a_notice(read, write, notices):
    text = "user_id,item_id\n1,2\n"
    for name in ("a.csv", "a.csv~", "a.csv.bak", "_2021.csv", "_SUCCESS", ".a.csv.swp"):
        write(f"p/{name}", text)
    assert len(read("p").frame) == 1
    assert [notice for notice in notices if "left out" in notice] == [
        "p: left out _2021.csv, a.csv.bak, a.csv~, since names like these are no parts of a table"
    ]


def test_parts_read_beside_each_other_are_those_read_one_after_the_other(store, read, listener):
    for k in range(8):
        ids = pa.array([k, None if k % 3 == 2 else k + 10, 5], pa.int64())
        store(f"p/day={k}/a.parquet", user_id=ids, item_id=[1, 2, 3])
    outcomes = []
    before = threads()
    try:
        for n_threads in (1, 3):
            set_threads(n_threads)
            listener.notices.clear()
            table = read("p", bad_rows="skip", columns={"timestamp": None})
            # Two parts have a bad row: the first one must be named.
            with pytest.raises(DataError) as refused:
                read("p", columns={"timestamp": None})
            outcomes.append((columns(table), table.provenance, list(listener.notices), str(refused.value)))
    finally:
        set_threads(before)
    assert outcomes[0] == outcomes[1]
    _, provenance, notices, message = outcomes[0]
    assert provenance["rows_skipped"] == 2
    assert message.startswith("p/day=2/a.parquet: row 2")
    assert notices[0].startswith("p/day=2/a.parquet: ")
