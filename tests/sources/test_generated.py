"""Generated structures in curation: labels, precedence, rejects; runs with and without them."""

from pathlib import Path

import pandas as pd
import pytest
from pymatgen.core import Lattice, Structure

from sselib.columns import Entry
from sselib.curation.merging import curate
from sselib.errors import DataError, SchemaError
from sselib.materials.composition import canonical
from sselib.materials.structures import structure_to_json
from sselib.sources import generated
from sselib.sources.table import SourceTable, entries_frame, rejects_frame, structures_frame


def _row(name: str, formula: str, enthalpy: float, a: float = 5.13) -> dict[str, object]:
    anion = formula.removeprefix("Li")
    salt = Structure.from_spacegroup("Fm-3m", Lattice.cubic(a), ["Li", anion], [[0] * 3, [0.5] * 3])
    return {
        "id": name,
        "formula": formula,
        "n_atoms": 2,
        "enthalpy_ev_atom": enthalpy,
        "energy_ev_atom": enthalpy,
        "pressure_gpa": 0.0,
        "volume_angstrom3_atom": salt.volume / len(salt),
        "space_group_number": 225,
        "plausible": True,
        "potential": "chgnet",
        "provenance": "evolutionary search, chgnet, seed 0",
        "structure_json": structure_to_json(salt.get_primitive_structure()),
    }


def _measured(*rows: tuple[str, str, float]) -> SourceTable:
    records = [
        {
            Entry.ID: f"mine:{key}",
            Entry.SOURCE: "mine",
            Entry.SOURCE_ID: key,
            Entry.FORMULA: formula,
            Entry.COMPOSITION: canonical(formula),
            Entry.LOG10_SIGMA: value,
            Entry.TEMPERATURE_C: 25.0,
        }
        for key, formula, value in rows
    ]
    return SourceTable("mine", entries_frame(records), rejects_frame([]), structures_frame([]), ())


@pytest.fixture
def file(tmp_path: Path) -> Path:
    rows = [_row("a", "LiCl", -3.0), _row("b", "LiCl", -2.9, a=5.4), _row("c", "LiBr", -2.5, a=5.5)]
    generated.generated_table(rows).to_parquet(tmp_path / "generated.parquet")
    return tmp_path / "generated.parquet"


def test_a_measurement_takes_the_lowest_structure_of_its_composition(file: Path) -> None:
    table = generated.load(str(file), measured=[_measured(("1", "LiCl", -8.0), ("2", "LiF", -9.0))])
    (entry,) = table.entries.to_dict("records")
    assert (entry["id"], entry["log10_sigma"], entry["same_as"]) == ("generated:a", -8.0, "mine:1")
    assert entry["space_group_number"] == 225 and entry["a_angstrom"] == pytest.approx(5.13)
    assert list(table.structures["structure_id"]) == ["generated:a"]
    reasons = dict(zip(table.rejects["source_id"], table.rejects["reason"], strict=True))
    assert "was taken" in reasons["b"] and "no measurement" in reasons["c"]


def test_curation_keeps_one_row_with_the_structure_and_the_label(file: Path) -> None:
    measured = _measured(("1", "LiCl", -8.0), ("2", "LiF", -9.0))
    without = curate([measured])
    joined = curate([measured, generated.load(str(file), measured=[measured])])
    assert len(joined.curated) == len(without.curated) == 2
    chloride = joined.curated.set_index("composition").loc[canonical("LiCl")]
    assert chloride["log10_sigma"] == -8.0 and chloride["n_measurements"] == 1
    assert len(without.structures) == 0


def test_a_run_folder_serves_as_path_and_a_missing_file_is_named(file: Path, tmp_path: Path) -> None:
    (tmp_path / "RUN" / "02_structure_generation").mkdir(parents=True)
    file.rename(tmp_path / "RUN" / "02_structure_generation" / "generated.parquet")
    assert len(generated.load(str(tmp_path / "RUN"), measured=[_measured(("1", "LiCl", -8.0))]).entries) == 1
    with pytest.raises(DataError, match=r"generated\.parquet"):
        generated.load(str(tmp_path / "elsewhere"), measured=[])


def test_another_table_is_refused(tmp_path: Path) -> None:
    pd.DataFrame({"id": ["a"]}).to_parquet(tmp_path / "generated.parquet")
    with pytest.raises(SchemaError, match="generated structures"):
        generated.load(str(tmp_path / "generated.parquet"), measured=[])
