"""The version of recctl."""

__version__ = "0.2.0"
