"""Exports to an object store."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from recctl.data import InteractionDataset
from recctl.data.synthetic import generate
from recctl.errors import ArtifactError, ConfigError
from recctl.export import export_model, verify_export
from recctl.models.ease import EASERecommender
from tests.conftest import skip_without
from tests.data.sources.remote.servers import Store, s3_server

skip_without("fsspec", "pip install 'recctl[remote]'")


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """An empty S3 server."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIATEST")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter7766")
    monkeypatch.setenv("SHOP_BUCKET", "shopbucket77")
    with s3_server() as store:
        # A bucket exists in this server if it has objects.
        store.objects["shopbucket77/readme"] = b"x"
        monkeypatch.setenv("AWS_ENDPOINT_URL", store.url)
        yield store


@pytest.fixture(scope="module")
def model() -> EASERecommender:
    """A fitted model."""
    return EASERecommender().fit(InteractionDataset(generate(40, 20, 300, seed=1)))


def test_export_to_a_url_has_the_files_of_a_local_one(store: Store, model: EASERecommender, tmp_path: object) -> None:
    exported = export_model(model, "recommendations", "s3://${SHOP_BUCKET}/serving/ease")
    local = export_model(model, "recommendations", f"{tmp_path}/ease")
    assert exported.path == "s3://${SHOP_BUCKET}/serving/ease"
    assert exported.manifest == local.manifest
    prefix = "shopbucket77/serving/ease/"
    uploaded = {key.removeprefix(prefix): content for key, content in store.objects.items() if key.startswith(prefix)}
    uploaded = {key: content for key, content in uploaded.items() if key and not key.endswith("/")}
    expected = {path.name: path.read_bytes() for path in local.path.iterdir()}  # type: ignore[union-attr]
    assert uploaded == expected
    # Whoever waits for the manifest finds everything else.
    uploads = [path for method, path, _ in store.requests if method in ("PUT", "POST") and not path.endswith("/")]
    assert "manifest.json" in uploads[-1]


def test_export_to_a_url_replaces_only_exports_and_only_by_force(store: Store, model: EASERecommender) -> None:
    url = "s3://shopbucket77/ease"
    export_model(model, "recommendations", url, k=3)
    with pytest.raises(ConfigError, match="already holds an export; replace it with --force"):
        export_model(model, "recommendations", url)
    store.objects["shopbucket77/ease/old.bin"] = b"of an earlier version"
    export_model(model, "recommendations", url, force=True, k=5)
    assert json.loads(store.objects["shopbucket77/ease/manifest.json"])["options"]["k"] == 5
    assert "shopbucket77/ease/old.bin" not in store.objects
    store.objects["shopbucket77/notes/a.txt"] = b"mine"
    with pytest.raises(ConfigError, match="exists and is not an export"):
        export_model(model, "recommendations", "s3://shopbucket77/notes", force=True)
    assert store.objects["shopbucket77/notes/a.txt"] == b"mine"


def test_export_after_an_interrupted_upload_replaces_what_it_left(
    store: Store, model: EASERecommender, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fsspec.implementations.arrow import ArrowFSWrapper

    url = "s3://${SHOP_BUCKET}/ease"
    export_model(model, "recommendations", url, k=3)
    assert verify_export(url)["options"]["k"] == 3
    put_file = ArrowFSWrapper.put_file

    def interrupted(self: ArrowFSWrapper, local: str, remote: str) -> None:
        if "manifest" in remote:
            raise OSError("the connection to shopbucket77 was lost")
        put_file(self, local, remote)

    with monkeypatch.context() as patch:
        patch.setattr(ArrowFSWrapper, "put_file", interrupted)
        with pytest.raises(ArtifactError, match=r"can't be written: the connection to \$\{SHOP_BUCKET\} was lost"):
            export_model(model, "recommendations", url, force=True, k=5)
    with pytest.raises(ArtifactError, match=r"^s3://\$\{SHOP_BUCKET\}/ease/manifest.json: missing"):
        verify_export(url)
    export_model(model, "recommendations", url, k=5)
    assert verify_export(url)["options"]["k"] == 5
    names = {key for key in store.objects if not key.endswith("/")}
    assert names == {
        f"shopbucket77/{name}" for name in ("ease/manifest.json", "ease/recommendations.parquet", "readme")
    }


def test_export_to_a_web_server_is_refused(model: EASERecommender) -> None:
    with pytest.raises(ConfigError, match="can't be written to"):
        export_model(model, "recommendations", "https://reader:hunter7766@host/ease")
    with pytest.raises(ConfigError, match=r"https://\*\*\*:\*\*\*@host/ease: is no folder"):
        verify_export("https://reader:hunter7766@host/ease")
