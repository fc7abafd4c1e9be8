"""Arrow columns without the encodings and extension types that change no value."""

from __future__ import annotations

import uuid

import pyarrow as pa

from recctl.data.text_ids import is_text


def decode(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column without encodings that change no value: extension types other than UUID, run ends, and dictionaries.

    Dictionaries of text are kept.
    """
    if isinstance(column.type, pa.BaseExtensionType) and not is_uuid(column.type):
        column = _storage(column)
    if pa.types.is_run_end_encoded(column.type):
        import pyarrow.compute as pc

        column = pa.chunked_array([pc.run_end_decode(chunk) for chunk in column.chunks], column.type.value_type)
    if pa.types.is_dictionary(column.type) and not is_text(column.type.value_type):
        column = column.cast(column.type.value_type)
    if str(column.type) == "string_view":
        column = column.cast(pa.large_string())
    return column


def _storage(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return pa.chunked_array([chunk.storage for chunk in column.chunks], column.type.storage_type)


def value_type(arrow_type: pa.DataType) -> pa.DataType:
    """The type of the values of an encoded column."""
    if isinstance(arrow_type, pa.BaseExtensionType) and not is_uuid(arrow_type):
        arrow_type = arrow_type.storage_type
    if pa.types.is_run_end_encoded(arrow_type) or pa.types.is_dictionary(arrow_type):
        arrow_type = arrow_type.value_type
    return arrow_type


def is_uuid(arrow_type: pa.DataType) -> bool:
    """Whether an Arrow type is that of UUIDs."""
    return isinstance(arrow_type, pa.BaseExtensionType) and arrow_type.extension_name == "arrow.uuid"


def uuids_to_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """UUIDs in their canonical form, 8-4-4-4-12 hexadecimal digits; other columns are returned unchanged."""
    if not is_uuid(column.type):
        return column
    chunks = []
    for chunk in _storage(column).chunks:
        encoded = chunk.dictionary_encode()
        texts = [None if value is None else str(uuid.UUID(bytes=value)) for value in encoded.dictionary.to_pylist()]
        chunks.append(pa.DictionaryArray.from_arrays(encoded.indices, pa.array(texts, pa.large_string())))
    return pa.chunked_array(chunks, pa.dictionary(pa.int32(), pa.large_string()))
