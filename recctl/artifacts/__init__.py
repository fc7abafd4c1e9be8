"""Files of plain values and arrays: safe to read from untrusted sources, and reproducible byte by byte."""

from recctl.artifacts.files import FORMAT_VERSION, describe, digest, load, save

__all__ = ["FORMAT_VERSION", "describe", "digest", "load", "save"]
