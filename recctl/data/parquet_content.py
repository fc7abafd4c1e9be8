"""Reading of small Parquet files that are in memory."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq


def read_parquet_content(content: bytes) -> pa.Table:
    """Read a Parquet file without threads of Arrow.

    If a command ends while a thread of Arrow drops its last reference to the content, a Python object, the process is
    aborted.

    Raises:
        Exception: The content is damaged; a reader of Parquet can raise anything.
    """
    # `pq.read_table` would import pyarrow.dataset, and use threads for reading in any case.
    return pq.ParquetFile(pa.BufferReader(content), pre_buffer=False).read(use_threads=False)
