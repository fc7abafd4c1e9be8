"""The examples of docs/guides/data.md read small files in the formats of well-known data sets."""

from __future__ import annotations

import gzip
import re
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from recctl import experiment
from recctl.experiment.data import read_dataset
from tests.pages import read_blocks

PAGE = Path(__file__).parents[1] / "docs" / "guides" / "data.md"


class Sample(NamedTuple):
    """A file in the format of a data set, and what must be read from it.

    Attributes:
        section: Heading in docs/guides/data.md.
        example: Which of the section's examples.
        files: Content of each file, by name.
        expected: `(user, item, rating, timestamp)` of each row; None where there is no such column.
    """

    section: str
    example: int
    files: dict[str, str | bytes]
    expected: list[tuple[Any, Any, float | None, int | None]]


REES46_HEADER = "event_time,event_type,product_id,category_id,category_code,brand,price,user_id,user_session\n"
SAMPLES = [
    Sample(
        "Amazon reviews",
        0,
        {"Video_Games.csv": "0439381673,A21ROB4YDOZA5P,1.0,1402272000\n0700026657,A3TNZ2Q5E7HTHD,3.0,1399680000\n"},
        [("A21ROB4YDOZA5P", "0439381673", 1, 1402272000), ("A3TNZ2Q5E7HTHD", "0700026657", 3, 1399680000)],
    ),
    Sample(
        "Amazon reviews",
        1,
        {
            "Video_Games.jsonl.gz": gzip.compress(
                b'{"rating": 4.0, "title": "It\'s \\"pretty\\" sexy.", "text": "I\'m, playing", "images": [], '
                b'"asin": "B07DJWBYKP", "parent_asin": "B07DK1H3H5", "user_id": "AGCI7FAH4GL5FI65HYLKWTMFZ2CQ", '
                b'"timestamp": 1608186804795, "helpful_vote": 0, "verified_purchase": true}\n'
                b'{"rating": 5.0, "title": "Good", "text": "Good", "images": [{"small_image_url": "https://x/y.jpg"}], '
                b'"asin": "B00ZS80PC2", "parent_asin": "B07SRWRH5D", "user_id": "AGCI7FAH4GL5FI65HYLKWTMFZ2CQ", '
                b'"timestamp": 1587051114000, "helpful_vote": 1, "verified_purchase": false}\n'
            )
        },
        [
            ("AGCI7FAH4GL5FI65HYLKWTMFZ2CQ", "B07DK1H3H5", 4, 1608186804.795),
            ("AGCI7FAH4GL5FI65HYLKWTMFZ2CQ", "B07SRWRH5D", 5, 1587051114),
        ],
    ),
    Sample(
        "BookCrossing",
        0,
        {
            "BX-Book-Ratings.csv": (
                '"User-ID";"ISBN";"Book-Rating"\n"276725";"034545104X";"0"\n"276726";"0155061224";"5"\n'
                '"276727";"0446520802";"0"\n"276729";"Über 3";"10"\n'
            ).encode("latin-1")
        },
        [
            (276725, "034545104X", 0, None),
            (276726, "0155061224", 5, None),
            (276727, "0446520802", 0, None),
            (276729, "Über 3", 10, None),
        ],
    ),
    Sample(
        "RetailRocket",
        0,
        {
            "events.csv": "timestamp,visitorid,event,itemid,transactionid\n1433221332117,257597,view,355908,\n"
            "1433224214164,992329,view,248676,\n1433222276276,599528,transaction,356475,4000\n"
            "1433221999827,992329,addtocart,248676,\n"
        },
        [
            (257597, 355908, 1, 1433221332.117),
            (992329, 248676, 4, 1433224214.164),
            (599528, 356475, 5, 1433222276.276),
        ],
    ),
    Sample(
        "H&M",
        0,
        {
            "transactions_train.csv": "t_dat,customer_id,article_id,price,sales_channel_id\n"
            "2018-09-20,000058a12d5b43e6,0663713001,0.050830508474576264,2\n"
            "2018-09-21,00007d2de826758b,0541518023,0.03049152542372881,2\n"
        },
        [
            ("000058a12d5b43e6", "0663713001", None, 1537401600),
            ("00007d2de826758b", "0541518023", None, 1537488000),
        ],
    ),
    Sample(
        "Last.fm-360K",
        0,
        {
            "usersha1-artmbid-artname-plays.tsv": "00000c289a1829a8\t3bd73256-3905-4f3a\tbetty blowtorch\t2137\n"
            '00000c289a1829a8\t\t"weird al" yankovic\t1099\n00001411dc427966\tb7ffd2af-418f-4be2\t"heroes\t7\n'
            "00001411dc427966\tb7ffd2af-418f-4be3\t\t5\n"
        },
        [
            ("00000c289a1829a8", "betty blowtorch", 2137, None),
            ("00000c289a1829a8", '"weird al" yankovic', 1099, None),
            ("00001411dc427966", '"heroes', 7, None),
        ],
    ),
    Sample(
        "Yelp",
        0,
        {
            "yelp_academic_dataset_review.json": '{"review_id":"KU_O5","user_id":"mh_-eMZ6K5RLWhZyISBhwA",'
            '"business_id":"XQfwVwDr-v0ZS3_CbbE5Xw","stars":3.0,"useful":0,"funny":0,"cool":0,'
            '"text":"If you decide to eat here,\\n\\"just\\" be aware","date":"2018-07-07 22:09:11"}\n'
            '{"review_id":"BiTun","user_id":"OyoGAe7OKpv6SyGZT5g77Q","business_id":"7ATYjTIgM3jUlt4UM3IypQ",'
            '"stars":5.0,"useful":1,"funny":0,"cool":1,"text":"spin","date":"2012-01-03 15:28:18"}\n'
        },
        [
            ("mh_-eMZ6K5RLWhZyISBhwA", "XQfwVwDr-v0ZS3_CbbE5Xw", 3, 1531001351),
            ("OyoGAe7OKpv6SyGZT5g77Q", "7ATYjTIgM3jUlt4UM3IypQ", 5, 1325604498),
        ],
    ),
    Sample(
        "Steam",
        0,
        {
            "steam-200k.csv": "151603712,The Elder Scrolls V Skyrim,purchase,1.0,0\n"
            "151603712,The Elder Scrolls V Skyrim,play,273.0,0\n"
            '151603712,"Warhammer, Dawn of War",purchase,1.0,0\n5250,"Warhammer, Dawn of War",play,87.5,0\n'
        },
        [(151603712, "The Elder Scrolls V Skyrim", 273, None), (5250, "Warhammer, Dawn of War", 87.5, None)],
    ),
    Sample(
        "Online Retail",
        0,
        {
            "OnlineRetail.csv": (
                "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n"
                "536365,85123A,WHITE HANGING HEART T-LIGHT HOLDER,6,12/1/2010 8:26,2.55,17850,United Kingdom\n"
                "536370,22728,ALARM CLOCK £5 PINK,24,12/1/2010 8:45,3.75,12583,France\n"
                "536414,22139,,56,12/1/2010 11:52,0,,United Kingdom\n"
                'C536379,D,"DISCOUNT, ""10%""",-1,12/31/2010 9:41,27.5,14527,United Kingdom\n'
            ).encode("latin-1")
        },
        [
            (17850, "85123A", None, 1291191960),
            (12583, "22728", None, 1291193100),
            (14527, "D", None, 1293788460),
        ],
    ),
    Sample(
        "CiteULike",
        0,
        {"users.dat": "3 495 1631 2317\n2 1631 16\n"},
        [
            (1, 495, None, None),
            (1, 1631, None, None),
            (1, 2317, None, None),
            (2, 1631, None, None),
            (2, 16, None, None),
        ],
    ),
    Sample(
        "Netflix",
        0,
        {
            "combined_data_1.txt": "1:\n1488844,3,2005-09-06\n822109,5,2005-05-13\n2:\n2059652,4,2005-09-05\n",
            "combined_data_2.txt": "4500:\n1488844,1,2004-01-02\n",
        },
        [
            (1488844, 1, 3, 1125964800),
            (822109, 1, 5, 1115942400),
            (2059652, 2, 4, 1125878400),
            (1488844, 4500, 1, 1073001600),
        ],
    ),
    Sample(
        "Taobao",
        0,
        {
            "UserBehavior.csv": "1,2268318,2520377,pv,1511544070\n1,2333346,2520771,buy,1511561733\n"
            "2,4,9,fav,1511572885\n"
        },
        [(1, 2268318, 1, 1511544070), (1, 2333346, 5, 1511561733), (2, 4, 2, 1511572885)],
    ),
    Sample(
        "REES46",
        0,
        {
            "2019-Oct.csv": REES46_HEADER
            + "2019-10-01 00:00:00 UTC,view,44600062,2103807459595387724,,shiseido,35.79,541312140,72d76fde\n"
            "2019-10-01 00:02:14 UTC,purchase,1004856,2053013555631882655,electronics.smartphone,samsung,130.76,"
            "543272936,8187d148\n",
            "2019-Nov.csv": REES46_HEADER
            + "2019-11-01 00:00:41 UTC,purchase,13200605,2053013557192163841,furniture.bedroom.bed,,566.3,559368633,"
            "d6034fa2\n",
        },
        [(559368633, 13200605, None, 1572566441), (543272936, 1004856, None, 1569888134)],
    ),
]


def examples(section: str) -> list[str]:
    """The YAML examples of a section of docs/guides/data.md."""
    return [block.code for block in read_blocks(PAGE) if block.heading == section]


def test_each_well_known_data_set_has_a_sample() -> None:
    text = PAGE.read_text().partition("## Well-known data sets")[2]
    sections = re.findall(r"^### (.*)$", text, flags=re.MULTILINE)
    n_samples = {section: sum(sample.section == section for sample in SAMPLES) for section in sections}
    assert n_samples == {section: len(examples(section)) for section in sections}


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: f"{sample.section} {sample.example}")
def test_example_of_a_well_known_data_set_reads_its_format(sample: Sample, tmp_path: Path) -> None:
    for name, content in sample.files.items():
        (tmp_path / name).write_bytes(content.encode() if isinstance(content, str) else content)
    config = tmp_path / "recctl.yaml"
    config.write_text(examples(sample.section)[sample.example])
    data = read_dataset(experiment.load(config)).dataset.data
    rows = data.to_dict("records")
    found = [(row["user_id"], row["item_id"], row.get("rating"), row.get("timestamp")) for row in rows]
    assert found == [
        (user, item, None if rating is None else pytest.approx(rating), None if time is None else pytest.approx(time))
        for user, item, rating, time in sample.expected
    ]
