"""Exported vectors are searched by faiss, and the exported index by usearch."""

from __future__ import annotations

from typing import Any

import pytest

from tests.clients.guide import Exports
from tests.conftest import skip_without

skip_without("polars", "recctl[polars]")

CLIENTS = {"faiss": ("Vectors in faiss", "faiss-cpu"), "usearch": ("A vector index: usearch", "recctl[ann]")}


@pytest.mark.parametrize("text", [False, True], ids=["integers", "text"])
@pytest.mark.parametrize("client", CLIENTS)
def test_vector_search_finds_what_recctl_recommends(client: str, text: bool, recctl: Any) -> None:
    heading, how = CLIENTS[client]
    skip_without(client, how)
    exports = Exports(recctl, text)
    exports.export(heading)
    assert exports.run_python(heading) == exports.recommended(exclude_seen=False)
