"""Variables in URLs, and what of URLs is never shown."""

from __future__ import annotations

import pytest

from recctl import urls
from recctl.errors import ConfigError


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://me:se@cret@host:5/db?sslmode=require", "postgresql://***:***@host:5/db?sslmode=require"),
        ("postgresql://host/db?user=me&password=x", "postgresql://host/db?user=***&password=***"),
        ("postgresql://${PGUSER}:${PGPASSWORD}@host/db", "postgresql://${PGUSER}:${PGPASSWORD}@host/db"),
        ("postgresql://me:${PGPASSWORD}@host/db", "postgresql://***:${PGPASSWORD}@host/db"),
        ("https://h/a.csv?X-Amz-Signature=abc&versionId=3", "https://h/a.csv?X-Amz-Signature=***&versionId=3"),
        ("https://h/a.csv?sv=1&sig=abc%3D#access_token=12", "https://h/a.csv?sv=1&sig=***#access_token=***"),
        ("s3://key:secret@bucket/events/*.parquet", "s3://***:***@bucket/events/*.parquet"),
        ("abfs://container@account/events", "abfs://container@account/events"),
        ("--set data.source='https://a:b@h/x.csv'", "--set data.source='https://***:***@h/x.csv'"),
        ("events/a@b.csv?sig=1", "events/a@b.csv?sig=1"),
        ("postgresql://me:pa'ss{x}\"<y>@host/db", "postgresql://***:***@host/db"),
        ("postgresql://me:pa?s#s@host/db", "postgresql://***:***@host/db"),
        ("s3://key:sec/ret+/x@bucket/events/*.parquet", "s3://***:***@bucket/events/*.parquet"),
        ("s3://bucket/a:b@c/lists-{window}.parquet", "s3://bucket/a:b@c/lists-{window}.parquet"),
        ("https://host:8080/a@b.csv", "https://host:8080/a@b.csv"),
        ("http://${HOST}:${PORT}/a@b.csv", "http://${HOST}:${PORT}/a@b.csv"),
        ("${SITE}/a.csv?token=x&v=1", "${SITE}/a.csv?token=***&v=1"),
        ("${KIND}://me:secret@host/db", "${KIND}://***:***@host/db"),
        ("query of ${SHOP_URL}: no user me@host", "query of ${SHOP_URL}: no user me@host"),
        ("http://[::1]:8080/a@b.csv", "http://[::1]:8080/a@b.csv"),
        ("https://h/a.csv?passphrase=a'b&session_id=x&v=1", "https://h/a.csv?passphrase=***&session_id=***&v=1"),
    ],
)
def test_redacting_replaces_secrets_and_keeps_the_rest(url: str, shown: str) -> None:
    assert urls.redact(url) == shown


def test_hiding_removes_all_that_expanding_inserted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HIDING_URL", "postgresql://reader:pa%24sword1@db.example/shop")
    assert urls.expand("${HIDING_URL}", "data.source.url") == "postgresql://reader:pa%24sword1@db.example/shop"
    message = 'can\'t connect to postgresql://reader:pa%24sword1@db.example/shop: no role "reader" with pa$sword1'
    assert urls.hide(message) == 'can\'t connect to ${HIDING_URL}: no role "***" with ***'


def test_short_values_are_hidden_as_whole_words_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HIDING_BUCKET", "wox")
    urls.expand("s3://${HIDING_BUCKET}/events", "data.source")
    assert urls.hide("bucket wox is not woxford") == "bucket ${HIDING_BUCKET} is not woxford"


@pytest.mark.parametrize(
    ("template", "problem"),
    [
        ("s3://${HIDING_MISSING}/x", "the environment variable HIDING_MISSING is not set"),
        ("s3://${not-a-name}/x", "is no environment variable"),
        ("${HIDING_PATH}", "holds no URL"),
    ],
)
def test_template_that_gives_no_url_is_an_error(template: str, problem: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HIDING_PATH", "folder/file.csv")
    with pytest.raises(ConfigError, match=problem) as raised:
        urls.expand(template, "data.source")
    assert str(raised.value).startswith("data.source: ")
    assert "folder" not in str(raised.value)


def test_url_that_was_stored_without_its_secrets_asks_for_them() -> None:
    with pytest.raises(ConfigError, match="was not stored; give the URL again"):
        urls.expand("https://***:***@another.example/x.csv", "data.source")


def test_newest_url_is_opened_of_those_that_are_stored_alike() -> None:
    stored = {urls.redact(f"https://signed.example/x.csv?sig={signature}") for signature in ("old77", "new77")}
    assert urls.expand(stored.pop(), "data.source") == "https://signed.example/x.csv?sig=new77"
    assert not stored


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://h/a/ratings%20new.csv.gz?sig=1", "ratings new.csv.gz"),
        ("s3://bucket/events/", "events"),
        ("s3://${BUCKET}/events/*.csv", "*.csv"),
        ("https://h/${FILE}", ""),
        ("https://h/..%2F..%2Fevents.csv", "events.csv"),
        ("https://h/a%5Cevents.csv", "events.csv"),
        ("https://h/a/..", ""),
    ],
)
def test_file_name_of_a_url_has_neither_parameters_nor_variables(url: str, name: str) -> None:
    assert urls.file_name(url) == name
