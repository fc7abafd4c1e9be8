"""File readers, one module a format."""
