"""What evaluations found of each of their items, as a Parquet file for each checkpoint and evaluation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from metrics.base import Items
from trainables.checkpoint import step_name
from trainables.storage import CorruptFileError, Folder, sha256

if TYPE_CHECKING:
    import pandas as pd

ITEMS = "items"


def file_name(step: int, key: str) -> str:
    """In a trial's folder; ``key`` is the metric's."""
    return f"{ITEMS}/{key}/{step_name(step)}.parquet"


def keep(trial: Folder, step: int, key: str, items: Items) -> dict[str, Any]:
    """Write the items; the file's size and hash, for the measurement's record."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(dict(items.columns)), sink, compression="zstd")
    data = sink.getvalue().to_pybytes()
    trial.write(file_name(step, key), data)
    return {"bytes": len(data), "sha256": sha256(data)}


def read(trial: Folder, step: int, key: str) -> pd.DataFrame:
    """A row for each item, in the order of the data set. Raises FileNotFoundError, CorruptFileError."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    data = trial.read(file_name(step, key))
    try:
        return pq.read_table(pa.BufferReader(data)).to_pandas()
    except pa.ArrowInvalid as error:
        raise CorruptFileError(f"{trial}/{file_name(step, key)}: {error}") from error
