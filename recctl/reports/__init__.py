"""Reports of runs: one HTML page, or tables for a paper."""
