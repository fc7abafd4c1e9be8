"""The exception that leaves a section out of a report."""

from __future__ import annotations

from recctl.errors import RecctlError


class SectionOmittedError(RecctlError):
    """A section has nothing to show; the message says why, and the page lists it under "Omitted sections"."""
