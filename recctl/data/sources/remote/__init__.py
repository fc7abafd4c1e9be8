"""Sources that are not local files: databases, web servers and object stores.

Each is copied to temporary local files, which the readers of local files read: ids, times, bad rows and the use of
memory are the same wherever data live.
"""
