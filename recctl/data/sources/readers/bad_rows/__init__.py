"""The row-by-row reader: it parses every cell and reports each bad row with its line."""
