"""The sections of a report: each function returns the blocks of one section."""
