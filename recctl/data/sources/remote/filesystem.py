"""Opening object stores: S3 and Google Cloud Storage by Arrow, which needs no other package, others by fsspec.

Credentials come from the environment, as for other programs: `AWS_ACCESS_KEY_ID`, profiles and roles;
`GOOGLE_APPLICATION_CREDENTIALS`. What fsspec is configured with (`FSSPEC_S3_ENDPOINT_URL`, ...) holds here as well.
"""

from __future__ import annotations

import importlib.util
import os
from typing import Any
from urllib.parse import unquote, urlsplit

from recctl import urls
from recctl.errors import ConfigError, DataError

_S3_SCHEMES = ("s3", "s3a", "s3n")
_GCS_SCHEMES = ("gs", "gcs")
_CONNECT_SECONDS = 15


def open_filesystem(url: str, key: str) -> tuple[Any, str]:
    """Return an fsspec file system, and the path of a URL in it.

    Args:
        url: The URL, with the values of variables.
        key: The key of the config or the option that holds it, for messages.

    Raises:
        ConfigError: A package is missing, or there is no such file system.
        DataError: It can't be opened.
    """
    if importlib.util.find_spec("fsspec") is None:
        raise ConfigError(f"{key}: URLs of object stores need a package: pip install 'recctl[remote]'")
    scheme = urls.scheme(url)
    path = url.partition("://")[2]
    try:
        if scheme in _S3_SCHEMES:
            return _open_s3(path)
        if scheme in _GCS_SCHEMES:
            return _open_gcs(path)
        return _open_by_fsspec(url, scheme, key)
    except ConfigError:
        raise
    except Exception as error:  # each file system has exceptions of its own
        raise DataError(urls.hide(f"{key}: can't open {scheme}://: {error}")) from None


def _open_s3(path: str) -> tuple[Any, str]:
    from fsspec.config import conf
    from fsspec.implementations.arrow import ArrowFSWrapper
    from pyarrow import fs

    user_info, at, rest = path.partition("@")
    if not at or "/" in user_info:
        user_info, rest = "", path
    configured = {**conf.get("s3", {})}
    client = configured.get("client_kwargs") or {}
    options: dict[str, Any] = {"connect_timeout": _CONNECT_SECONDS}
    key, _, secret = user_info.partition(":")
    options["access_key"] = unquote(key) or configured.get("key")
    options["secret_key"] = unquote(secret) or configured.get("secret")
    if options["access_key"]:
        options["session_token"] = None if user_info else configured.get("token")
    options["anonymous"] = str(configured.get("anon", "")).lower() in ("true", "1")
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    endpoint = configured.get("endpoint_url") or client.get("endpoint_url") or endpoint
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    options["region"] = client.get("region_name") or region
    if endpoint:
        parts = urlsplit(endpoint if "://" in endpoint else f"https://{endpoint}")
        options["endpoint_override"] = parts.netloc
        options["scheme"] = parts.scheme
        options["region"] = options["region"] or "us-east-1"
    elif options["region"] is None:
        options["region"] = fs.resolve_s3_region(rest.partition("/")[0])
    return ArrowFSWrapper(fs.S3FileSystem(**options), skip_instance_cache=True), rest


def _open_gcs(path: str) -> tuple[Any, str]:
    from fsspec.config import conf
    from pyarrow import fs

    from recctl.data.sources.remote.gcs import GcsFileSystem

    configured = {**conf.get("gs", {}), **conf.get("gcs", {})}
    options: dict[str, Any] = {}
    if configured.get("token") == "anon":  # as gcsfs spells it
        options["anonymous"] = True
    endpoint = configured.get("endpoint_url") or os.environ.get("STORAGE_EMULATOR_HOST")
    if endpoint:
        parts = urlsplit(endpoint if "://" in endpoint else f"http://{endpoint}")
        options |= {"endpoint_override": parts.netloc, "scheme": parts.scheme, "anonymous": True}
    return GcsFileSystem(fs.GcsFileSystem(**options), skip_instance_cache=True), path


def _open_by_fsspec(url: str, scheme: str, key: str) -> tuple[Any, str]:
    from fsspec.core import url_to_fs
    from fsspec.registry import known_implementations

    try:
        filesystem, path = url_to_fs(url)
    except ImportError:
        reason = known_implementations.get(scheme, {}).get("err", "a package of fsspec is missing")
        raise ConfigError(f"{key}: {scheme}://: {reason}") from None
    except ValueError:
        if scheme.startswith(("postgres", "sqlite", "duckdb")):
            raise ConfigError(
                f'{key}: {scheme}:// is a database; write {key}: {{sql: "select ...", url: "{scheme}://..."}}'
            ) from None
        raise ConfigError(
            f"{key}: {scheme}:// is unknown; use s3://, gs://, https:// or another protocol of fsspec"
        ) from None
    return filesystem, str(path)
