"""The ledger of models scored on OBELiX's official test: each named model once, so that none is picked there.

`data/ledger.csv` is part of the project. A model that is changed gets a new line, not a better number.
"""

from pathlib import Path

import pandas as pd

from sselib.errors import DataError, SchemaError
from sselib.paths import project_root

COLUMNS = ["model", "training", "scored", "mae_floor", "mae_bound", "mae_uncensored", "r2_bound", "chosen_by"]
_NUMBERS = ["mae_floor", "mae_bound", "mae_uncensored", "r2_bound"]


def load_ledger(path: Path | None = None) -> pd.DataFrame:
    """Return the ledger: `COLUMNS`, one row per model and training data, errors in log10(S/cm).

    ``model`` is "model/features", with its version where the model or its features have changed since ("v1":
    before the compressed scale, the forest of medians and the size of the formula, or before pore volumes on
    a plain grid). ``training``: obelix, merged, or merged_814 (the merged table of 814 rows, before the
    reference set grew). ``scored``: the day of the first score. ``chosen_by``: how its settings were chosen.
    Raises `DataError` for a missing file
    and `SchemaError` for other columns, missing numbers or a model listed twice.
    """
    file = path or project_root() / "data" / "ledger.csv"
    if not file.is_file():
        raise DataError(f"{file} is missing: it is part of the project; restore it (git checkout)")
    table = pd.read_csv(file)
    if list(table.columns) != COLUMNS:
        raise SchemaError(f"{file} has the columns {', '.join(table.columns)}: expected {', '.join(COLUMNS)}")
    twice = table.duplicated(["model", "training"])
    if twice.any() or table[_NUMBERS].isna().any(axis=None):
        found = table.loc[twice, "model"].tolist() or "an empty number"
        raise SchemaError(f"{file} holds {found}: expected each model once per training data, with numbers")
    return table


def beside_ledger(scores: pd.DataFrame, ledger: pd.DataFrame) -> pd.DataFrame:
    """Return the ledger with ``here``, this run's mae_bound of the same model, and ``apart``, the difference.

    ``scores`` are metric records. A model scored here that the ledger lacks is a row with ``here`` alone: it
    must be entered before its number is used.
    """
    own = scores[(scores["protocol"] == "obelix_official") & (scores["metric"] == "mae_bound")]
    own = own.assign(model=own["model"] + "/" + own["features"]).rename(columns={"dataset": "training"})
    here = own[["model", "training", "value"]].rename(columns={"value": "here"})
    found = ledger.merge(here, on=["model", "training"], how="outer", sort=False)
    return found.assign(apart=found["here"] - found["mae_bound"]).sort_values("mae_bound", ignore_index=True)
