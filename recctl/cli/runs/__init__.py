"""`recctl runs`: one module per group of commands."""

from recctl.cli.runs import list, show, alias, verify, gc  # noqa: A004, I001 - in the order of the help

__all__ = ["alias", "gc", "list", "show", "verify"]
