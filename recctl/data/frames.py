"""Tables of pandas, polars and pyarrow, accepted alike by every function that takes interactions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from recctl.data.arrow_columns import decode, uuids_to_text
from recctl.data.columns import RATING
from recctl.data.pandas_types import is_data_frame
from recctl.errors import DataError

if TYPE_CHECKING:
    import pandas as pd
    from narwhals.typing import IntoDataFrame

    Frame = pd.DataFrame | IntoDataFrame
else:
    # Checked by `to_pandas`: what is accepted depends on the packages that are imported.
    Frame = Any

_ACCEPTED = "a pandas or polars DataFrame, or a pyarrow Table"


def is_frame(data: Any) -> bool:
    """Whether an object is a table of a supported library, a lazy one included."""
    if is_data_frame(data) or isinstance(data, pa.Table):
        return True
    if isinstance(data, list | tuple | dict | np.ndarray):
        return False
    import narwhals.stable.v2 as nw

    return bool(nw.dependencies.is_into_dataframe(data)) or _is_lazy(data)


def to_pandas(data: Any, name: str = "interactions", also: str = "") -> pd.DataFrame:
    """A table as a pandas DataFrame.

    A pandas DataFrame is returned as it is. The columns of other tables become pandas columns backed by Arrow, which
    share the memory of the table where its library stores Arrow data.

    Args:
        data: The table.
        name: The name of the argument, for messages.
        also: What else the argument can be, for messages: "an InteractionDataset".

    Raises:
        DataError: It is no table, is lazy, or has two columns of the same name.
    """
    if is_data_frame(data):
        return data
    if isinstance(data, pa.Table):
        return _from_columns(data.column_names, data.columns, name)
    import narwhals.stable.v2 as nw

    if _is_lazy(data):
        raise DataError(f"{name}: {_type_name(data)} is not computed yet; give {name}.collect()")
    try:
        frame = nw.from_native(data, eager_only=True)
    except TypeError:
        accepted = f"{also}, {_ACCEPTED}" if also else _ACCEPTED
        raise DataError(f"{name}: is of type {_type_name(data)}; give {accepted}") from None
    native = frame.to_native()
    if is_data_frame(native):
        return native
    try:
        columns = [frame[column].to_arrow() for column in frame.columns]
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise DataError(f"{name}: can't be converted to Arrow: {error}") from error
    return _from_columns(frame.columns, columns, name)


def require_distinct_columns(frame: pd.DataFrame, roles: tuple[str, ...], name: str = "interactions") -> None:
    """Raise if two columns have the name of a role.

    Raises:
        DataError: The message names the column.
    """
    for role in roles:
        n_columns = int((frame.columns == role).sum())
        if n_columns > 1:
            raise DataError(f"{name}: {n_columns} columns are called {role}; rename or drop all but one of them")


def _from_columns(names: list[str], columns: list[Any], name: str) -> pd.DataFrame:
    for column in names:
        if names.count(column) > 1:
            raise DataError(
                f"{name}: {names.count(column)} columns are called {column}; rename or drop all but one of them"
            )
    import pandas as pd

    series = {key: _to_series(key, values) for key, values in zip(names, columns, strict=True)}
    return pd.DataFrame(series, copy=False)


def _to_series(name: str, values: Any) -> pd.Series[Any]:
    """Arrow values as a pandas column, in a type that pandas can compute with."""
    import pandas as pd

    column = uuids_to_text(decode(values if isinstance(values, pa.ChunkedArray) else pa.chunked_array([values])))
    if pa.types.is_date(column.type):
        column = column.cast(pa.timestamp("s"))  # pandas has datetimes only
    elif pa.types.is_float16(column.type) or (name == RATING and pa.types.is_boolean(column.type)):
        column = column.cast(pa.float32())
    return pd.Series(pd.arrays.ArrowExtensionArray(column))


def _is_lazy(data: Any) -> bool:
    import narwhals.stable.v2 as nw

    try:
        return isinstance(nw.from_native(data), nw.LazyFrame)
    except TypeError:
        return False


def _type_name(data: Any) -> str:
    kind = type(data)
    module = kind.__module__.split(".")[0]
    return kind.__name__ if module == "builtins" else f"{module}.{kind.__name__}"
