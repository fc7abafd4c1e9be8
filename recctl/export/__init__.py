"""Exports: one module a format. An export is a folder with a manifest, and is verified by reading it back.

from recctl import export_model

export_model(model, "recommendations", "out/top10", k=10, file_format="csv")
"""

from recctl.export.api import Export, export_model, export_run, verify_export
from recctl.export.base import Context, ExportFormat
from recctl.export.registry import format_class, format_classes, format_names

__all__ = [
    "Context",
    "Export",
    "ExportFormat",
    "export_model",
    "export_run",
    "format_class",
    "format_classes",
    "format_names",
    "verify_export",
]
