"""Embeddings of users and items, as Parquet."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from recctl.data import columns
from recctl.data.matrix import Float32Array
from recctl.data.vocabulary import Vocabulary
from recctl.errors import ArtifactError, UnsupportedError
from recctl.export import _id_files
from recctl.export._table_files import id_type
from recctl.export.base import Context, ExportFormat
from recctl.models.base import Recommender
from recctl.models.registry import model_classes

_ROWS_PER_WRITE = 1 << 16
_SIDES = {"users": columns.USER, "items": columns.ITEM}


class EmbeddingsFormat(ExportFormat):
    """Embeddings of users and items whose inner products are the scores, as Parquet.

    `users.parquet` and `items.parquet` have these columns, in the order of codes:

        user_id or item_id  string or int64
        embedding           fixed-size list of float32

    `users.json` and `items.json` have the ids alone. Vectors have as many dimensions as the model has factors, and one
    more where it has biases; the manifest has the number (`facts.dimensions`).
    """

    name = "embeddings"
    libraries = ("pyarrow",)
    read_with: ClassVar[Mapping[str, str]] = _id_files.READ_WITH

    def write(self, model: Recommender, folder: Path, context: Context) -> dict[str, Any]:
        """Write both sides."""
        users, items = embeddings_of(model)
        _write(folder / "users.parquet", columns.USER, model.user_vocabulary, users)
        _write(folder / "items.parquet", columns.ITEM, model.item_vocabulary, items)
        _id_files.write_json(folder, model)
        return {"users": len(users), "items": len(items), "dimensions": items.shape[1]}

    @classmethod
    def verify(cls, folder: Path, manifest: Mapping[str, Any], model: Recommender | None = None) -> None:
        """Check shapes; right after writing, also that all vectors equal the model's bit by bit."""
        manifest_facts = manifest["facts"]
        _id_files.check_json(folder, manifest, model)
        for side, column in _SIDES.items():
            path = folder / f"{side}.parquet"
            with pq.ParquetFile(path) as parquet_file:
                schema = parquet_file.schema_arrow
                vector_type = schema.field("embedding").type
                if schema.names != [column, "embedding"] or vector_type != pa.list_(
                    pa.float32(), manifest_facts["dimensions"]
                ):
                    raise ArtifactError(f"{path}: damaged: columns {schema.names} with {vector_type}")
                if parquet_file.metadata.num_rows != manifest_facts[side]:
                    raise ArtifactError(
                        f"{path}: {parquet_file.metadata.num_rows:,} vectors, not {manifest_facts[side]:,}"
                    )
        if model is not None:
            for side, written in zip(_SIDES, model.embeddings(), strict=True):
                if not np.array_equal(read_vectors(folder / f"{side}.parquet"), written):
                    raise ArtifactError(f"{folder / side}.parquet: when read back, the vectors differ from the model's")


def embeddings_of(model: Recommender) -> tuple[Float32Array, Float32Array]:
    """`model.embeddings()`, with an error that lists the models that have embeddings.

    Raises:
        UnsupportedError: The model has none.
    """
    try:
        return model.embeddings()
    except UnsupportedError as error:
        supported = [
            model_type.name for model_type in model_classes() if model_type.embeddings is not Recommender.embeddings
        ]
        raise UnsupportedError(f"{error}; models with embeddings: {', '.join(supported)}") from None


def read_vectors(path: Path) -> Float32Array:
    """Vectors of a file, `(n, n_dimensions)`."""
    column = pq.read_table(path, columns=["embedding"])["embedding"]
    width = column.type.list_size
    chunk_arrays = [chunk.flatten().to_numpy() for chunk in column.chunks]
    flat_values: Float32Array = np.concatenate(chunk_arrays) if chunk_arrays else np.empty(0, np.float32)
    return flat_values.reshape(-1, width)


def _write(path: Path, column: str, vocabulary: Vocabulary, vectors: Float32Array) -> None:
    vector_type = pa.list_(pa.float32(), vectors.shape[1])
    ids_type = id_type(vocabulary)
    schema = pa.schema([(column, ids_type), ("embedding", vector_type)])
    # Uncompressed: factors are noise to a compressor, and byte-stream-split encoding would make reading slow.
    with pq.ParquetWriter(path, schema, compression="none", use_dictionary=False) as writer:
        for begin in range(0, len(vectors), _ROWS_PER_WRITE):
            row_range = slice(begin, begin + _ROWS_PER_WRITE)
            flat_values = pa.array(np.ascontiguousarray(vectors[row_range]).reshape(-1))
            vector_lists = pa.FixedSizeListArray.from_arrays(flat_values, type=vector_type)
            ids = pa.array(vocabulary.ids[row_range], ids_type)
            writer.write_table(pa.table([ids, vector_lists], schema=schema))
