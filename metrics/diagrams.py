"""Persistence diagrams kept beside the numbers, as Parquet: one file per checkpoint and metric."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from metrics.base import Diagram
from trainables.checkpoint import step_name
from trainables.storage import CorruptFileError, Folder, sha256

if TYPE_CHECKING:
    import pandas as pd

DIAGRAMS = "diagrams"
COLUMNS = ("layer", "dimension", "birth", "death", "scale")


def file_name(step: int, key: str) -> str:
    """Where a metric (``name@version``) keeps a checkpoint's diagrams, within the trial."""
    return f"{DIAGRAMS}/{key}/{step_name(step)}.parquet"


def keep(trial: Folder, step: int, key: str, diagrams: Iterable[Diagram]) -> dict[str, Any]:
    """Write the diagrams of a checkpoint; returns the file's size and hash, for the measurement's record.

    Columns: layer, dimension (int16), birth, death (float64, in units of the distance), scale (float64, the
    0.9-quantile of the cloud's distances).
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    found = list(diagrams)
    counts = [len(one.bars) for one in found]
    bars = np.concatenate([one.bars for one in found])
    columns = (
        np.repeat([one.layer for one in found], counts),
        np.repeat([one.dimension for one in found], counts),
        bars[:, 0],
        bars[:, 1],
        np.repeat([one.scale for one in found], counts),
    )
    types = (np.int16, np.int16, np.float64, np.float64, np.float64)
    table = pa.table({name: column.astype(kind) for name, column, kind in zip(COLUMNS, columns, types, strict=True)})
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    data = sink.getvalue().to_pybytes()
    trial.write(file_name(step, key), data)
    return {"bytes": len(data), "sha256": sha256(data)}


def read(trial: Folder, step: int, measurement: Mapping[str, Any]) -> pd.DataFrame:
    """The diagrams that a measurement kept.

    Raises FileNotFoundError where it kept none or they are gone, and CorruptFileError where they are not what was
    written; the file is then deleted, and the next run makes it anew.
    """
    import pandas as pd

    name = file_name(step, f"{measurement['metric']}@{measurement['version']}")
    if "diagrams" not in measurement:
        raise FileNotFoundError(f"{trial}/{name}: {measurement['metric']} kept no diagrams")
    data = trial.read(name)
    if sha256(data) != measurement["diagrams"]["sha256"]:
        trial.delete(name)
        raise CorruptFileError(f"{trial}/{name}: its content does not match its sha256; run again to have it made anew")
    try:
        return pd.read_parquet(io.BytesIO(data))
    except ValueError as error:  # Arrow's is one
        raise CorruptFileError(f"{trial}/{name}: not Parquet ({error})") from error
