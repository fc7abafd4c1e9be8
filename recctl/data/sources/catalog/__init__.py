"""Data sets known by name: where they are downloaded from, and how they are cached."""
