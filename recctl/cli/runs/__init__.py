"""`recctl runs`: one module for each group of its commands."""

from recctl.cli.runs import list, show, alias, verify, gc  # noqa: A004, I001 - commands; in the order of the help

__all__ = ["alias", "gc", "list", "show", "verify"]
