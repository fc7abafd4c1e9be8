"""File readers, one module per format; `interface` documents what a reader takes and returns."""
