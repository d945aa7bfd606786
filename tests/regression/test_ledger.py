"""The ledger of the official test: each model once, and a model that is missing shows."""

from pathlib import Path

import pandas as pd
import pytest

from sselib.errors import DataError, SchemaError
from sselib.regression.ledger import COLUMNS, beside_ledger, load_ledger

LINE = "gp/formula,obelix,2026-11-21,1.6,1.3,1.2,0.4,grouped folds"


def ledger(path: Path, *lines: str) -> Path:
    path.write_text("\n".join([",".join(COLUMNS), *lines]) + "\n")
    return path


def test_the_project_has_a_ledger() -> None:
    assert len(load_ledger()) >= 3


def test_a_model_twice_a_hole_and_a_missing_file_are_errors(tmp_path: Path) -> None:
    with pytest.raises(SchemaError, match="each model once"):
        load_ledger(ledger(tmp_path / "l.csv", LINE, LINE))
    with pytest.raises(SchemaError, match="empty number"):
        load_ledger(ledger(tmp_path / "l.csv", LINE.replace("1.3", "")))
    with pytest.raises(DataError, match="missing"):
        load_ledger(tmp_path / "none.csv")


def test_this_runs_numbers_stand_beside_it_and_what_it_lacks_is_seen(tmp_path: Path) -> None:
    known = load_ledger(ledger(tmp_path / "l.csv", LINE))
    scores = pd.DataFrame(
        [
            ("obelix", "gp", "formula", "obelix_official", "mae_bound", 1.35),
            ("obelix", "new", "formula", "obelix_official", "mae_bound", 1.0),
            ("obelix", "gp", "formula", "kfold5", "mae_bound", 0.5),
        ],
        columns=["dataset", "model", "features", "protocol", "metric", "value"],
    )
    found = beside_ledger(scores, known).set_index("model")
    assert found.loc["gp/formula", "apart"] == pytest.approx(0.05)
    assert pd.isna(found.loc["new/formula", "scored"])
    assert len(found) == 2
