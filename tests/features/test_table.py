"""The feature table: invariance of whole records, cache, failures, and every real structure."""

import json

import numpy as np
import pandas as pd
import pytest
from pymatgen.core import Lattice, Structure

from sselib.errors import ParameterError, SchemaError
from sselib.features import table as feature_table
from sselib.features.pores import PoreSettings
from sselib.features.table import compute_features, describe_structure
from sselib.materials.composition import canonical
from sselib.materials.structures import structure_record, structure_to_json
from sselib.sources import obelix
from sselib.sources.table import entries_frame

SETTINGS = PoreSettings(probe_radius_angstrom=0.3, grid_spacing_angstrom=0.15)
LATTICE_LABELS = {"a_angstrom", "b_angstrom", "c_angstrom"}
OF_THE_CELL = LATTICE_LABELS | {
    "atoms_per_cell",
    "cell_volume_angstrom3",
    "length_short_angstrom",
    "length_middle_angstrom",
    "length_long_angstrom",
}


def disordered() -> Structure:
    """Return an orthorhombic structure with partial, shared and full sites and open channels."""
    sites = [{"Li": 0.5}, {"Ti": 0.6, "Zr": 0.4}, {"O": 1.0}, {"S": 0.8, "O": 0.2}]
    return Structure(
        Lattice.orthorhombic(4.6, 5.4, 7.9),
        sites,
        [[0.02, 0.51, 0.13], [0.1, 0.12, 0.4], [0.47, 0.18, 0.35], [0.43, 0.61, 0.72]],
    )


def relabelled(s: Structure) -> Structure:
    """Return the structure with its axes called c, a, b."""
    return Structure(Lattice(s.lattice.matrix[[2, 0, 1]]), s.species_and_occu, s.frac_coords[:, [2, 0, 1]])


def shifted(s: Structure) -> Structure:
    """Return the structure with another origin."""
    return Structure(s.lattice, s.species_and_occu, s.frac_coords + np.array([0.171, 0.334, 0.419]))


def shuffled(s: Structure) -> Structure:
    """Return the structure with its sites in another order."""
    order = [2, 0, 3, 1]
    return Structure(s.lattice, [s[i].species for i in order], s.frac_coords[order])


def numbers(structure: Structure, leave: set[str]) -> pd.Series:
    """Return a structure's record without some names."""
    record = describe_structure(structure_to_json(structure), SETTINGS)
    assert record.failures == []
    return pd.Series(record.numbers).drop(list(leave))


@pytest.mark.parametrize(
    ("change", "leave"),
    [
        (relabelled, LATTICE_LABELS),
        (shifted, set()),
        (shuffled, set()),
        (lambda s: s.make_supercell([2, 1, 1], in_place=False), OF_THE_CELL),
    ],
    ids=["axis labels", "origin", "atom order", "supercell"],
)
def test_a_record_does_not_depend_on_how_the_structure_is_written(change, leave):
    """Volumes on the grid agree within 1 % and the jitter of 1e-4 Angstrom moves the spheres a little."""
    first, second = numbers(disordered(), leave), numbers(change(disordered()), leave)
    assert first["poav_fraction"] > 0.01
    pd.testing.assert_series_equal(first, second, rtol=0.01, atol=2e-3)


def test_labelled_lengths_do_depend_on_the_labels():
    first, second = (
        describe_structure(structure_to_json(s), SETTINGS).numbers
        for s in (disordered(), relabelled(disordered()))
    )
    assert [first[n] for n in sorted(LATTICE_LABELS)] != [second[n] for n in sorted(LATTICE_LABELS)]


def curated(**columns) -> pd.DataFrame:
    """Return two curated rows: LiCl with a lattice and no structure, one with a structure."""
    lattice = {
        "a_angstrom": 5.13,
        "b_angstrom": 5.13,
        "c_angstrom": 5.13,
        "alpha_deg": 90,
        "beta_deg": 90,
        "gamma_deg": 90,
        "cell_formula": "Li4Cl4",
        "space_group_number": 225,
    }
    rows = [
        {
            "id": "t:1",
            "source": "t",
            "source_id": "1",
            "formula": "LiCl",
            "log10_sigma": -8.0,
            "composition": canonical("LiCl"),
            **lattice,
        },
        {
            "id": "t:2",
            "source": "t",
            "source_id": "2",
            "formula": "Li3TiO2S",
            "log10_sigma": -5.0,
            "composition": canonical("Li3TiO2S"),
            "structure_id": "s",
        },
    ]
    return entries_frame(rows).assign(**columns)


def structures(text: str | None = None) -> pd.DataFrame:
    record = structure_record(disordered(), structure_id="s", source="t", text="text", origin="test")
    return pd.DataFrame([record | ({"structure_json": text} if text else {})])


def test_every_row_is_there_in_order_and_every_column_described(tmp_path):
    found = compute_features(curated(), structures(), n_jobs=1, cache_dir=tmp_path)
    assert found.features["id"].tolist() == ["t:1", "t:2"]
    assert found.groups["feature"].tolist() == [c for c in found.features if c != "id"]
    kim = found.groups[found.groups["kim"] & (found.groups["group"] != "stoichiometric")]
    assert set(kim["feature"]) == {*LATTICE_LABELS, "density_g_cm3", "poav_cm3_g"}
    assert found.failures.empty


def test_a_row_has_what_its_table_or_its_structure_gives(tmp_path):
    rows = compute_features(curated(), structures(), n_jobs=1, cache_dir=tmp_path).features.set_index("id")
    assert rows.loc["t:1", "density_g_cm3"] == pytest.approx(2.086, abs=0.01)
    assert rows.loc["t:1", "space_group_number"] == 225
    assert np.isnan(rows.loc["t:1", "poav_cm3_g"])
    second = rows.loc["t:2"]
    assert second["poav_cm3_g"] == pytest.approx(second["poav_fraction"] / disordered().density, rel=1e-6)
    assert second["c_angstrom"] == pytest.approx(7.9)


@pytest.fixture
def counted(monkeypatch) -> list[str]:
    """Return the structures that are described from now on, in this process."""
    calls: list[str] = []

    def described(text: str, settings: PoreSettings) -> feature_table.StructureRecord:
        calls.append(text)
        return describe_structure(text, settings)

    monkeypatch.setattr(feature_table, "describe_structure", described)
    return calls


def test_a_second_run_takes_the_same_values_from_the_cache(tmp_path, counted):
    first = compute_features(curated(), structures(), n_jobs=1, cache_dir=tmp_path)
    second = compute_features(curated(), structures(), n_jobs=1, cache_dir=tmp_path)
    assert len(counted) == first.n_structures == second.n_structures == 1
    pd.testing.assert_frame_equal(first.features, second.features, check_exact=True)


@pytest.mark.parametrize("change", [{"probe_radius_angstrom": 0.2}, {"seed": 1}, {"mobile_ion": "Na"}])
def test_other_settings_do_not_take_a_cached_value(tmp_path, counted, change):
    compute_features(curated(), structures(), n_jobs=1, cache_dir=tmp_path)
    compute_features(curated(), structures(), n_jobs=1, cache_dir=tmp_path, settings=PoreSettings(**change))
    assert len(counted) == 2


@pytest.mark.parametrize("damage", ['{"numbers": {"poav_fr', '{"numbers": {}, "failures": []}'])
def test_a_damaged_cache_file_is_computed_again(tmp_path, counted, damage):
    """Cut off, and replaced by one that reads well and says something else."""
    first = compute_features(curated(), structures(), n_jobs=1, cache_dir=tmp_path)
    for path in tmp_path.rglob("*.json"):
        path.write_text(damage)
    with pytest.warns(UserWarning, match="damaged"):
        again = compute_features(curated(), structures(), n_jobs=1, cache_dir=tmp_path)
    assert len(counted) == 2
    pd.testing.assert_frame_equal(first.features, again.features)


def test_a_timeout_is_a_failure_that_is_not_cached(tmp_path):
    found = compute_features(
        curated(), structures(), n_jobs=1, cache_dir=tmp_path, settings=PoreSettings(timeout_s=0.001)
    )
    assert found.failures.to_numpy().tolist() == [["t:2", "pores", "Zeo++ took longer than 0.001 s"]]
    assert not list(tmp_path.rglob("*.json"))


@pytest.mark.parametrize("text", ["{}", "no json", json.dumps({"lattice": 1, "sites": []})])
def test_a_structure_that_cannot_be_read_costs_only_its_own_values(tmp_path, text):
    found = compute_features(curated(), structures(text), n_jobs=1, cache_dir=tmp_path)
    assert found.failures[["id", "block"]].to_numpy().tolist() == [["t:2", "structure"]]
    assert found.features.set_index("id")["fraction_Li"].notna().all()


def test_a_structure_that_is_not_there_is_named(tmp_path):
    found = compute_features(curated(), structures().iloc[:0], n_jobs=1, cache_dir=tmp_path)
    assert "structure s is not in the structures table" in found.failures.loc[0, "reason"]


def test_a_slip_in_z_is_corrected_and_reported(tmp_path):
    s = disordered()
    lattice = dict(zip(("a_angstrom", "b_angstrom", "c_angstrom"), s.lattice.abc)) | {
        "alpha_deg": 90.0,
        "beta_deg": 90.0,
        "gamma_deg": 90.0,
    }
    double = s.composition.formula.replace(" ", "")
    table = curated(**lattice, cell_formula=f"({double})2", structure_id="s").iloc[1:]
    found = compute_features(table, structures(), n_jobs=1, cache_dir=tmp_path)
    assert "holds 0.5 times the atoms" in found.failures.loc[0, "reason"]
    assert found.features.loc[0, "density_g_cm3"] == pytest.approx(s.density, rel=1e-3)


def test_a_broken_block_is_a_failure_row(tmp_path, monkeypatch):
    def broken(structure: Structure, settings: PoreSettings) -> dict[str, float]:
        raise RuntimeError("spglib said no")

    monkeypatch.setattr(feature_table, "_symmetry_block", broken)
    found = compute_features(curated(), structures(), n_jobs=1, cache_dir=tmp_path)
    assert found.failures.to_numpy().tolist() == [["t:2", "symmetry", "RuntimeError: spglib said no"]]
    assert found.features.loc[1, "poav_cm3_g"] > 0


def test_missing_columns_and_unknown_ions_are_refused(tmp_path):
    with pytest.raises(SchemaError, match="lacks composition"):
        compute_features(curated().drop(columns="composition"), structures())
    with pytest.raises(ParameterError, match="mobile_ion = 'Lithium'"):
        compute_features(curated(), structures(), settings=PoreSettings(mobile_ion="Lithium"))


@pytest.mark.mirror
@pytest.mark.slow
def test_real_structures_in_parallel(mirror, tmp_path):
    """Forty OBELiX structures with two workers: none fails, and one worker gives the same values."""
    data = obelix.load()
    rows = data.entries[data.entries["structure_id"].notna()].iloc[::8]
    found = compute_features(rows, data.structures, n_jobs=2, cache_dir=tmp_path)
    assert found.n_structures == len(rows) >= 40
    assert set(found.failures["block"]) <= {"lattice"}
    assert found.features["poav_cm3_g"].notna().all()
    one = compute_features(rows.iloc[:2], data.structures, n_jobs=1, cache_dir=tmp_path / "other")
    both = list(one.features.columns)
    pd.testing.assert_frame_equal(one.features, found.features.loc[:1, both])
