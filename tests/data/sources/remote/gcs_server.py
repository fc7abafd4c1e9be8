"""A small part of Google Cloud Storage on the loopback, in a process of its own.

Arrow's client holds Python's lock while it waits for some answers, so that a server in the same process could not give
them. Objects are files in a folder, by which the tests see and change them.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from tests.data.sources.remote.servers import _chunks, _Quiet, _range

_ROOT = Path(__file__).parents[4]
_REFUSES = "refuses"
_REQUESTS = "requests"


class Objects(MutableMapping[str, bytes]):
    """Content by `bucket/key`, each in a file."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(exist_ok=True)

    def _path(self, key: str) -> Path:
        return self._folder / quote(key, safe="")

    def __getitem__(self, key: str) -> bytes:
        try:
            return self._path(key).read_bytes()
        except FileNotFoundError:
            raise KeyError(key) from None

    def __setitem__(self, key: str, content: bytes) -> None:
        self._path(key).write_bytes(content)

    def __delitem__(self, key: str) -> None:
        self._path(key).unlink()

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(unquote(path.name) for path in self._folder.iterdir()))

    def __len__(self) -> int:
        return len(list(self._folder.iterdir()))


@dataclass
class Store:
    """The objects of a server.

    Attributes:
        folder: Holds all of its files.
        url: Where it listens.
        objects: Content by `bucket/key`.
    """

    folder: Path
    url: str
    objects: Objects

    def refuse(self) -> None:
        """Answer every request as one without a right to the bucket."""
        (self.folder / _REFUSES).touch()

    @property
    def requests(self) -> list[str]:
        """Method and path of each request."""
        return (self.folder / _REQUESTS).read_text().splitlines()


@contextmanager
def gcs_server(folder: Path) -> Iterator[Store]:
    """Serve what Arrow's client requests: metadata, contents, listings, uploads, and tokens, which are refused."""
    (folder / _REQUESTS).touch()
    objects = Objects(folder / "objects")
    command = [sys.executable, "-m", "tests.data.sources.remote.gcs_server", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=_ROOT) as process:
        assert process.stdout is not None
        try:
            yield Store(folder, process.stdout.readline().strip(), objects)
        finally:
            process.terminate()


class _Handler(_Quiet):
    folder: Path
    objects: Objects
    uploads: dict[str, bytes]

    def do_GET(self) -> None:
        path, query = self._begin()
        if self._is_refused():
            return
        if path.endswith("/o"):
            self._answer_json(self._listing(path.split("/")[-2], query.get("prefix", ""), query.get("delimiter", "")))
        elif self._key(path) not in self.objects:
            self._answer_error(404, "No such object")
        elif query.get("alt") == "media":
            self._send(self.objects[self._key(path)])
        else:
            self._answer_json(self._metadata(self._key(path)))

    def do_POST(self) -> None:
        path, query = self._begin()
        body = self._body()
        if path == "/token":
            self._answer_error(401, "Invalid Credentials")
        elif not self._is_refused():
            assert query["uploadType"] == "resumable", query
            name = query.get("name") or json.loads(body)["name"]
            key = f"{path.split('/')[-2]}/{name}"
            self.uploads[key] = b""
            self.answer(200, b"", {"Location": f"http://{self.headers['Host']}/session/{quote(key, safe='')}"})

    def do_PUT(self) -> None:
        path, _ = self._begin()
        key = unquote(path.removeprefix("/session/"))
        self.uploads[key] += self._body()
        content = self.uploads[key]
        if self.headers["Content-Range"].endswith("/*"):  # more follows
            self.answer(308, b"", {"Range": f"bytes=0-{len(content) - 1}"})
            return
        self.objects[key] = self.uploads.pop(key)
        self._answer_json(self._metadata(key))

    def do_DELETE(self) -> None:
        path, _ = self._begin()
        if self._key(path) not in self.objects:
            self._answer_error(404, "No such object")
            return
        del self.objects[self._key(path)]
        self.answer(204, b"")

    def _begin(self) -> tuple[str, dict[str, str]]:
        with (self.folder / _REQUESTS).open("a") as file:
            file.write(f"{self.command} {self.path}\n")
        parts = urlsplit(self.path)
        return parts.path, dict(parse_qsl(parts.query))

    def _is_refused(self) -> bool:
        is_refused = (self.folder / _REFUSES).exists()
        if is_refused:
            self._answer_error(401, "Invalid Credentials")
        return is_refused

    def _key(self, path: str) -> str:
        bucket, _, name = path.removeprefix("/storage/v1/b/").partition("/o/")
        return f"{bucket}/{unquote(name)}"

    def _listing(self, bucket: str, prefix: str, delimiter: str) -> dict[str, Any]:
        items = []
        prefixes = []
        for key in self.objects:
            name = key.removeprefix(f"{bucket}/")
            if name == key or not name.startswith(prefix):
                continue
            folder, found, _ = name.removeprefix(prefix).partition(delimiter or "\n")
            if found:
                prefixes.append(f"{prefix}{folder}{delimiter}")
            else:
                items.append(self._metadata(key))
        return {"kind": "storage#objects", "items": items, "prefixes": list(dict.fromkeys(prefixes))}

    def _metadata(self, key: str) -> dict[str, Any]:
        bucket, _, name = key.partition("/")
        return {
            "kind": "storage#object",
            "bucket": bucket,
            "name": name,
            "size": str(len(self.objects[key])),
            "generation": "1",
            "updated": "2026-01-01T00:00:00.000Z",
            "timeCreated": "2026-01-01T00:00:00.000Z",
        }

    def _send(self, content: bytes) -> None:
        begin, end = _range(self.headers.get("Range"), len(content))
        headers = {"Content-Range": f"bytes {begin}-{end - 1}/{len(content)}", "x-goog-generation": "1"}
        self.answer(206 if "Range" in self.headers else 200, content[begin:end], headers)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            return b"".join(_chunks(self.rfile))
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _answer_json(self, document: Mapping[str, Any], status: int = 200) -> None:
        self.answer(status, json.dumps(document).encode(), {"Content-Type": "application/json"})

    def _answer_error(self, status: int, message: str) -> None:
        self._answer_json({"error": {"code": status, "message": message}}, status)


def _serve(folder: Path) -> None:
    _Handler.folder = folder
    _Handler.objects = Objects(folder / "objects")
    _Handler.uploads = {}
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    print(f"http://127.0.0.1:{server.server_address[1]}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    _serve(Path(sys.argv[1]))
