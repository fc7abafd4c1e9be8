"""Finding bad rows: the slow path of the readers, used if the fast path meets a value that it can not convert."""
