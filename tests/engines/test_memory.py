"""Available memory, and refusing work that needs more."""

import pytest

from recctl.engines import available_memory, format_bytes, memory, require_memory
from recctl.errors import ConfigError, TrainingError


def test_available_memory_can_be_overridden(monkeypatch):
    monkeypatch.delenv("RECCTL_MEMORY", raising=False)
    assert 2**20 < available_memory() < 2**50
    monkeypatch.setenv("RECCTL_MEMORY", "12345")
    assert available_memory() == 12345
    monkeypatch.setenv("RECCTL_MEMORY", "4GB")
    with pytest.raises(ConfigError, match="RECCTL_MEMORY='4GB': must be a whole number of bytes"):
        available_memory()


@pytest.mark.parametrize(
    ("folder", "names"),
    [
        ("", ("memory.max", "memory.current", "memory.stat")),
        ("memory", ("memory.limit_in_bytes", "memory.usage_in_bytes", "memory.stat")),
    ],
)
def test_container_limit_counts_and_page_cache_does_not(tmp_path, folder, names):
    (tmp_path / folder).mkdir(exist_ok=True)
    statistics = "anon 500\ninactive_anon 7\nactive_file 30\ninactive_file 200\nworkingset_activate_file 9\n"
    for name, content in zip(names, ("1000\n", "900\n", statistics), strict=True):
        (tmp_path / folder / name).write_text(content)
    assert memory._available_in_container(tmp_path) == 1000 - 900 + 230
    (tmp_path / folder / names[1]).write_text("5000")
    assert memory._available_in_container(tmp_path) == 0


def test_container_without_limit_is_ignored(tmp_path):
    assert memory._available_in_container(tmp_path) > 2**60
    for name, content in (("memory.max", "max"), ("memory.current", "900"), ("memory.stat", "")):
        (tmp_path / name).write_text(content)
    assert memory._available_in_container(tmp_path) > 2**60


def test_require_memory_reports_needed_and_available_memory(monkeypatch):
    monkeypatch.setenv("RECCTL_MEMORY", "1500000")
    require_memory(1_500_000, "this", "")
    with pytest.raises(TrainingError, match=r"^these things need 2.0 GB of memory, 1.5 MB are available; do less$"):
        require_memory(2e9, "these things", "do less")


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (1_540_000, "1.5 MB"), (16e10, "160.0 GB"), (2e15, "2000.0 TB")],
)
def test_format_bytes(size, text):
    assert format_bytes(size) == text
