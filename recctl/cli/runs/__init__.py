"""`recctl runs`: a module for what lists, what shows, what names and what tidies."""

from recctl.cli.runs import listing, naming, showing, tidying

__all__ = ["listing", "naming", "showing", "tidying"]
