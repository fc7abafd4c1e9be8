"""The version of recctl."""

__version__ = "0.1.0"
