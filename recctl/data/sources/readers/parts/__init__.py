"""Reading a folder or a pattern of files as the parts of one table: finding, checking and joining them."""
