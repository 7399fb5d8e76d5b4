"""What evaluations found of each of their items, as a Parquet file for each checkpoint and evaluation."""

from __future__ import annotations

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from metrics.base import Items
from trainables.checkpoint import step_name
from trainables.storage import CorruptFileError, Folder

ITEMS = "items"


def file_name(step: int, key: str) -> str:
    """In a trial's folder; ``key`` is the metric's."""
    return f"{ITEMS}/{key}/{step_name(step)}.parquet"


def keep(trial: Folder, step: int, key: str, items: Items) -> None:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(dict(items.columns)), sink, compression="zstd")
    trial.write(file_name(step, key), sink.getvalue().to_pybytes())


def read(trial: Folder, step: int, key: str) -> pd.DataFrame:
    """A row for each item, in the order of the data set. Raises FileNotFoundError, CorruptFileError."""
    data = trial.read(file_name(step, key))
    try:
        return pq.read_table(pa.BufferReader(data)).to_pandas()
    except pa.ArrowInvalid as error:
        raise CorruptFileError(f"{trial}/{file_name(step, key)}: {error}") from error
