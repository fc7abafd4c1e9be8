"""Files of plain values and arrays: safe to read from anywhere, the same bytes for the same content."""

from recctl.artifacts.files import FORMAT_VERSION, describe, digest, load, save

__all__ = ["FORMAT_VERSION", "describe", "digest", "load", "save"]
