"""The two passes of a screening, on small models trained on the embedded reference set."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from labelled_reference import labelled_reference
from pymatgen.core import Lattice, Structure

from sselib.atomsets.superionic_model import fit_superionic_model
from sselib.columns import Curated
from sselib.features.formula import formula_features
from sselib.materials.cif import read_cif
from sselib.materials.composition import element_fractions, l1_distances
from sselib.plots import screening as plots
from sselib.prediction.applicability import training_space
from sselib.prediction.scorer import FROM_FORMULA, Scorer, load_scorer
from sselib.regression.conductivity_model import save_conductivity_model, train_conductivity_model
from sselib.regression.models import ModelOptions
from sselib.reporting.ranked_table import (
    csv_bytes,
    downloads,
    ranked_html,
    structure_to_cif,
    zip_bytes,
)
from sselib.schemas import STRUCTURES, validate
from sselib.screening import scoring
from sselib.screening.candidates import Material, checked
from sselib.screening.explanation import (
    describe,
    explain_candidates,
    feature_words,
    nearest_training,
    outside_range,
    reason,
    with_unit,
)
from sselib.screening.filters import FilterSettings, apply_filters
from sselib.screening.material_properties import (
    PROPERTIES,
    PropertyModels,
    load_property_models,
    material_properties,
)
from sselib.screening.pareto import Objective
from sselib.screening.published_candidates import (
    BLIND,
    measured_errors,
    published_candidates,
    published_predicted,
    side_by_side,
    without_relatives,
)
from sselib.screening.relaxation import DISORDERED, relaxed
from sselib.screening.scores import described_columns


def rock_salt(anion: str = "Cl", a: float = 5.13) -> Structure:
    return Structure.from_spacegroup("Fm-3m", Lattice.cubic(a), ["Li", anion], [[0, 0, 0], [0.5, 0.5, 0.5]])


def broken() -> Structure:
    raise ValueError("no room for lithium")


CANDIDATES = [
    checked(Material("x:1", "LiCl", "x", structure=rock_salt)),
    checked(Material("x:2", "Li6PS5Cl", "x")),
    checked(Material("x:3", "Li1-x", "x")),
    checked(Material("x:4", "LiBr", "x", parent="h", structure=lambda: rock_salt("Br", 5.5))),
    checked(Material("x:5", "LiI", "x", parent="h", structure=broken)),
    checked(Material("x:6", "Li9B19S33", "x")),
]


@pytest.fixture(scope="module")
def curated() -> pd.DataFrame:
    """Return the reference set with the columns that training reads."""
    rows = labelled_reference()
    systems = ["-".join(sorted(c.split(" ")[0][:2] for c in text.split(" "))) for text in rows["composition"]]
    return rows.assign(
        **{
            Curated.CHEMICAL_SYSTEM: systems,
        }
    )


NO_MEGNET = PropertyModels(why_missing="not wanted")


@pytest.fixture(scope="module")
def scorer(curated: pd.DataFrame) -> Scorer:
    labelled = curated[curated["superionic"].notna()]
    superionic = fit_superionic_model(labelled.assign(duplicate_group=labelled["composition"])).model
    conductivity = train_conductivity_model(curated, seed=0)
    return Scorer(conductivity, None, superionic, training_space(conductivity.training), sha256="one")


@pytest.fixture(scope="module")
def tables(scorer, tmp_path_factory) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the tables of both passes."""
    parts = tmp_path_factory.mktemp("parts")
    by_formula = scoring.score_formulas(CANDIDATES, scorer, parts=parts, chunk_size=4)
    ids = ["x:1", "x:4", "x:5"]
    return by_formula, scoring.score_structures(CANDIDATES, ids, scorer, NO_MEGNET, parts=parts, chunk_size=2)


def test_every_candidate_has_one_row_in_order_and_bad_ones_say_why(tables):
    by_formula, _ = tables
    assert by_formula["id"].tolist() == [c.id for c in CANDIDATES]
    bad = by_formula["problem"] != ""
    assert by_formula.loc[bad, "id"].tolist() == ["x:3"]
    assert (
        by_formula.loc[bad, "log10_sigma"].isna().all() and by_formula.loc[~bad, "log10_sigma"].notna().all()
    )
    assert by_formula.loc[~bad, "p_superionic"].between(0, 1).all()
    assert (by_formula["lower"] <= by_formula["log10_sigma"])[~bad].all()


def test_chunks_make_no_difference_and_finished_ones_are_not_scored_again(scorer, tables, tmp_path):
    whole = scoring.score_formulas(CANDIDATES, scorer, parts=tmp_path, chunk_size=100)
    pd.testing.assert_frame_equal(whole, tables[0])
    again = scoring.score_formulas(CANDIDATES, replace(scorer, by_formula=None), parts=tmp_path)
    pd.testing.assert_frame_equal(again, whole)  # without a model: read, not computed


def test_scores_of_other_models_or_settings_or_structures_are_not_taken_up(scorer, tmp_path):
    first = scoring.score_formulas(CANDIDATES, scorer, parts=tmp_path)
    other = replace(scorer, by_formula=Constant(scorer.by_formula.training), sha256="two")
    again = scoring.score_formulas(CANDIDATES, other, parts=tmp_path)
    assert again["log10_sigma"].dropna().eq(-5).all() and not first["log10_sigma"].eq(-5).any()
    scoring.score_formulas(CANDIDATES, scorer, parts=tmp_path, novelty_tolerance=1.0)
    assert len(list(tmp_path.rglob("*.parquet"))) == 3
    larger = replace(CANDIDATES[0], structure=lambda: rock_salt(a=6.0))
    volumes = [
        scoring.score_structures([c], [c.id], scorer, NO_MEGNET, parts=tmp_path)["density_g_cm3"][0]
        for c in (CANDIDATES[0], larger)
    ]
    assert volumes[0] > volumes[1]


def test_the_saved_models_decide_which_scores_are_kept(curated, tmp_path):
    """Two fits on the same rows, of the same kind and size, are two sets of scores."""
    shas = []
    for seed in (0, 1):
        model = train_conductivity_model(curated, options=ModelOptions(n_trees=3), seed=seed)
        save_conductivity_model(model, folder=tmp_path / "04_gbr_shap" / "models")
        shas.append(load_scorer(tmp_path, say=lambda text: None).sha256)
    assert shas[0] != shas[1] == load_scorer(tmp_path, say=lambda text: None).sha256
    assert shas[1] != load_scorer(tmp_path, confidence=0.5, say=lambda text: None).sha256


class Constant:
    """Stand-in for another fit: it says -5 of everything."""

    name = "constant"

    def __init__(self, training: pd.DataFrame) -> None:
        self.training = training

    def predict(self, formulas, *, structures, confidence):
        y = np.full(len(formulas), -5.0)
        return pd.DataFrame({"log10_sigma": y, "lower": y - confidence, "upper": y + confidence})


def test_a_stream_is_read_chunk_by_chunk(scorer, tmp_path):
    taken = []

    def stream():
        for candidate in CANDIDATES * 3:
            taken.append(candidate.id)
            if len(taken) == 9:
                raise KeyboardInterrupt
            yield candidate

    with pytest.raises(KeyboardInterrupt):
        scoring.score_formulas(stream(), scorer, parts=tmp_path, chunk_size=4)
    assert len(list(Path(tmp_path).rglob("*.parquet"))) == 2  # both chunks that were complete are kept


def test_a_training_compound_is_known_and_its_own_nearest(tables, curated):
    row = tables[0].set_index("id").loc["x:2"]
    assert row["d_composition"] == pytest.approx(0, abs=1e-5) and bool(row["is_known"])
    same = curated[curated["id"] == row["nearest_id"]].iloc[0]
    assert same["log10_sigma"] == row["nearest_log10_sigma"]


def test_structures_are_scored_and_failures_kept_with_their_reason(tables):
    by_structure = tables[1].set_index("id")
    assert by_structure.index.tolist() == ["x:1", "x:4", "x:5"]
    assert "no room for lithium" in by_structure.loc["x:5", "structure_note"]
    assert by_structure["structure_json"].isna().tolist() == [False, False, True]
    assert by_structure["p_superionic"].notna().tolist() == [True, True, False]
    assert by_structure.loc["x:1", "density_g_cm3"] == pytest.approx(2.086, abs=0.01)
    assert by_structure["band_gap_ev"].isna().all()
    assert by_structure["d_training"].isna().tolist() == [False, False, True]


def test_combined_rows_say_where_their_score_comes_from(tables):
    both = scoring.combine(*tables)
    assert both["scored_from"].tolist() == [
        "structure",
        "formula",
        "formula",
        "structure",
        "formula",
        "formula",
    ]
    assert both["id"].tolist() == tables[0]["id"].tolist()
    assert "structure_json" not in both


class FromStructure:
    """Stand-in for a conductivity model that reads structures: a share of the volume, and no bromine."""

    name = "stand-in/structure"

    def predict(self, formulas, *, structures, confidence):
        if any("Br" in f for f in formulas):
            raise FloatingPointError("bromine")
        y = np.array([s.volume / len(s) / 10 for s in structures])
        return pd.DataFrame({"log10_sigma": y, "lower": y - confidence, "upper": y + confidence})


def test_a_model_that_reads_structures_is_used_where_it_can_read_them(scorer, tables, tmp_path):
    reads = replace(scorer, by_structure=FromStructure(), sha256="three")
    found = scoring.score_structures(CANDIDATES, ["x:1", "x:4", "x:5"], reads, NO_MEGNET, parts=tmp_path)
    both = scoring.combine(tables[0], found).set_index("id")
    one, other, bromide = both.loc["x:1"], both.loc["x:2"], both.loc["x:4"]
    assert one["sigma_model"] == "stand-in/structure" and other["sigma_model"] == scorer.by_formula.name
    assert one["upper"] - one["lower"] == pytest.approx(1.8) and one["log10_sigma"] != one["sigma_formula"]
    assert other["log10_sigma"] == other["sigma_formula"]
    assert both.loc["x:5", "sigma_model"] == scorer.by_formula.name  # its structure could not be built
    assert bromide["sigma_model"] == scorer.by_formula.name and "bromine" in bromide["structure_note"]
    assert bromide["log10_sigma"] == pytest.approx(bromide["sigma_formula"])
    assert FROM_FORMULA in bromide["structure_note"] and bromide["scored_from"] == "structure"


def test_structure_table_fits_its_schema_and_the_formulas(tables):
    table = validate(scoring.scored_structures(tables[1]), STRUCTURES, what="structures")
    assert table["structure_id"].tolist() == ["x:1", "x:4"]
    assert scoring.composition_error(rock_salt(), "Li2Cl2") == pytest.approx(0)
    assert scoring.composition_error(rock_salt(), "LiBr") == pytest.approx(1)


def test_the_best_by_formula_share_a_host_no_more_than_asked(tables):
    passed = apply_filters(tables[0], FilterSettings(novelty_tolerance=None))
    goals = [Objective("p_superionic", "max"), Objective("band_gap_ev", "max")]
    free = scoring.best_by_formula(passed, goals, n=10, at_most={}).ids
    assert sorted(free) == ["x:1", "x:4", "x:5"]
    limited = scoring.best_by_formula(passed, goals, n=10, at_most={"parent": 1}).ids
    assert len(limited) == 2 and "x:1" in limited
    assert scoring.best_by_formula(passed, goals, n=1, at_most={}).ids == free[:1]
    assert scoring.best_by_formula(passed.iloc[:0], goals, n=5, at_most={}).ids == []


def test_proposals_next_to_a_better_one_are_its_variants_and_own_candidates_are_not():
    rows = pd.DataFrame(
        {
            "id": ["best", "near", "far", "polymorph"],
            "formula": ["Li6PS5Cl", "Li6.01PS5Cl", "Li3YCl6", "Li6PS5Cl"],
            "source": ["doping", "doping", "doping", "cif"],
            "p_superionic": [0.9, 0.8, 0.7, 0.6],
            "has_structure": True,
            "problem": "",
            "kept": True,
        }
    )
    goals = [Objective("p_superionic", "max")]
    found = scoring.best_by_formula(rows, goals, n=10, at_most={}, min_distance=0.05)
    assert found.ids == ["best", "far", "polymorph"] and found.variant_of == {"near": "best"}
    only = scoring.best_by_formula(rows, goals, n=1, at_most={}, min_distance=0.05)
    assert only.ids == ["best"] and only.variant_of == {"near": "best"}
    assert scoring.best_by_formula(rows, goals, n=10, at_most={}).variant_of == {}


def test_nothing_chosen_gives_empty_tables_that_combine(scorer, tables, tmp_path):
    none = scoring.score_structures(CANDIDATES, [], scorer, NO_MEGNET, parts=tmp_path)
    assert len(none) == 0 and (scoring.combine(tables[0], none)["scored_from"] == "formula").all()


def test_properties_without_models_are_missing_with_their_reason():
    found = material_properties({"a": rock_salt()}, load_property_models(n_gap_models=0))
    assert (
        found[list(PROPERTIES)[:-1]].isna().all(axis=None) and "n_gap_models" in found["property_note"]["a"]
    )


@pytest.mark.mirror
def test_megnet_properties_of_known_salts(mirror):
    """LiCl and LiF are wide-gap insulators; formation energies as in Materials Project (eV/atom)."""
    salts = {"LiCl": rock_salt(), "LiF": rock_salt("F", 4.03)}
    found = material_properties(salts, load_property_models(n_gap_models=2))
    assert found["formation_energy_ev_atom"].tolist() == pytest.approx([-2.10, -3.16], abs=0.1)
    assert (found["band_gap_ev"] > 4).all() and (found["band_gap_sd_ev"] >= 0).all()
    assert found["bulk_modulus_gpa"].between(15, 100).all()
    doubled = rock_salt().make_supercell([2, 1, 1])
    again = material_properties({"LiCl": doubled}, load_property_models(n_gap_models=2))
    numbers = [p for p in PROPERTIES if p != "density_g_cm3"]
    assert again[numbers].iloc[0].to_list() == pytest.approx(found[numbers].iloc[0].to_list(), abs=0.02)


@pytest.mark.slow
def test_chgnet_relaxes_a_compressed_salt_and_leaves_disorder_alone():
    pytest.importorskip("chgnet")
    tight = rock_salt("Cl", 4.9).get_primitive_structure()
    found, what = relaxed(tight, max_steps=40)
    assert found.volume > tight.volume and "CHGNet" in what
    mixed = rock_salt()
    mixed.replace(0, {"Li": 0.5, "Na": 0.5})
    assert relaxed(mixed, max_steps=40) == (mixed, DISORDERED) and "one atom per site" in DISORDERED
    assert relaxed(tight, max_steps=0)[0] is tight


def test_contributions_add_up_to_the_prediction(scorer, tables):
    rows = scoring.combine(*tables).query("problem == ''").head(2)
    for row, found in zip(rows.to_dict("records"), explain_candidates(rows, scorer)):
        assert found.base + found.contributions["shap"].sum() == pytest.approx(row["log10_sigma"], abs=1e-6)
        assert found.contributions["feature"].iloc[-1] == "other"
        assert row["formula"] in found.sentence and found.nearest["formula"].iloc[0] in found.sentence


def test_nearest_training_rows_come_in_order_of_distance(scorer):
    found = nearest_training("Li6PS5Cl", scorer.space, n=5)
    assert found["distance"].is_monotonic_increasing and found["distance"].iloc[0] == pytest.approx(
        0, abs=1e-5
    )


def test_outside_range_names_the_new_element_only():
    known = formula_features(["Li3YCl6", "Li6PS5Cl", "LiCl"])
    new = outside_range(formula_features(["Li6AsS5Cl"]).iloc[0], known)
    assert "mole_fraction_As" in set(new["feature"]) and "mole_fraction_S" not in set(new["feature"])
    assert outside_range(known.iloc[0], known).empty


def test_a_bound_is_called_a_bound(scorer, tables):
    row = scoring.combine(*tables).iloc[0].to_dict()
    near = nearest_training("LiCl", scorer.space).assign(censored=True)
    parts = pd.DataFrame(
        {"feature": ["mole_fraction_Li", "other"], "value": [0.5, np.nan], "shap": [-1.0, 0.0]}
    )
    text = describe(row, parts, near, pd.DataFrame({"feature": []}))
    assert "measured at most" in text and "Li content lowers it" in text and "structure" not in text
    other = row | {"sigma_formula": row["log10_sigma"] - 1}
    from_structure = describe(other, parts, near, pd.DataFrame({"feature": []}))
    assert f"from its structure; {row['log10_sigma'] - 1:.1f} from the formula" in from_structure


@pytest.mark.parametrize(
    ("feature", "value", "as_words", "as_label", "as_reason"),
    [
        ("mole_fraction_O", 0.0, "O content", "O content", "no O"),
        ("mole_fraction_O", 0.2, "O content", "O content", "O content"),
        ("suggests_oxide_other", 0.0, "family oxide other", "family oxide other", "not oxide other"),
        (
            "framework_mean_atomic_mass_u",
            0.0,
            "framework mean atomic mass",
            "framework mean atomic mass / u",
            "",
        ),
        ("anion_max_radius_angstrom", 1.8, "largest anion radius", "largest anion radius / Å", ""),
        (
            "cation_std_field_per_angstrom2",
            1.0,
            "spread of cation field strength",
            "spread of cation field strength / Å⁻²",
            "",
        ),
        ("cation_max_state", 5.0, "largest cation oxidation state", "largest cation oxidation state", ""),
    ],
)
def test_features_are_named_in_words_with_their_unit(feature, value, as_words, as_label, as_reason):
    assert (feature_words(feature), with_unit(feature)) == (as_words, as_label)
    assert reason(feature, value) == (as_reason or as_words)


def test_published_candidates_are_those_of_table_2(scorer, curated):
    table = published_candidates()
    assert len(table) == 20 and table["log10_measured"].count() == 6
    measured = table.set_index("formula")["log10_measured"]
    assert 10 ** (measured["Li9B19S33"] + 3) == pytest.approx(0.41)
    assert table["their_p_superionic"].is_monotonic_decreasing
    found = published_predicted(scorer, curated, distance=0.05, seed=0)
    assert found["log10_sigma"].notna().all() and found["d_composition"].between(0, 2).all()
    side = side_by_side(found)
    assert len(found) == 40 and len(side) == 20
    blind = found[found["models"] == BLIND].set_index("formula")["log10_sigma"]
    assert side.set_index("formula")["log10_blind"].equals(blind.rename("log10_blind"))
    assert found.loc[found["models"] == BLIND, "d_composition"].min() > 0.05


def test_no_model_keeps_a_row_near_a_candidate(scorer, curated) -> None:
    asked = ["Li6PS5Cl", "LiNbOCl4"]
    blind, n_removed = without_relatives(asked, scorer, curated=curated, distance=0.1, seed=3)
    left = set(blind.by_formula.training["id"])
    fractions = element_fractions(["Li6PS5Cl", *curated["composition"]]).to_numpy()
    near = set(curated["id"][l1_distances(fractions[:1], fractions[1:])[0] <= 0.1])
    assert n_removed[0] == len(near) > 0 and not near & left
    assert set(blind.space.table["id"]) <= left
    assert set(blind.superionic.training["id"]) <= left
    again, before = (m.superionic.predict_formulas(["Li6PS5Cl"]) for m in (blind, scorer))
    assert again["p_superionic"][0] != pytest.approx(before["p_superionic"][0], abs=1e-9)
    assert blind.superionic.formula.calibration == scorer.superionic.formula.calibration


def test_errors_on_the_measured_ones_by_hand():
    table = pd.DataFrame(
        {
            "log10_measured": [-3.0, -4.0, np.nan],
            "log10_sigma": [-4.0, -4.0, -9.0],
            "nearest_log10_sigma": -3.0,
            "models": "one",
        }
    )
    found = measured_errors(table, mean=-5.0, n_bootstrap=50, seed=0).set_index("model")
    assert found["mae"].to_dict() == {"model": 0.5, "1nn": 0.5, "mean": 1.5}
    assert (found["n"] == 2).all() and (found["ci_low"] <= found["mae"]).all()


def test_the_table_escapes_text_and_leaves_out_empty_columns():
    rows = pd.DataFrame({"rank": [1], "formula": ["<b>Li</b>"], "band_gap_ev": [np.nan], "score": [0.51239]})
    html = ranked_html(rows).data
    assert "&lt;b&gt;" in html and "<b>" not in html and "gap" not in html and "0.512" in html
    assert all(described_columns()[c].heading for c in rows)


def test_downloads_hold_their_files(tmp_path):
    rows = pd.DataFrame({"formula": ["LiCl"]})
    html = downloads(rows, {"001.cif": structure_to_cif(rock_salt())}).data
    assert 'download="ranked.csv"' in html and 'download="cifs.zip"' in html
    assert csv_bytes(rows) == b"formula\nLiCl\n" and zip_bytes({"a": "b"}) == zip_bytes({"a": "b"})
    assert "cifs.zip" not in downloads(rows, {}).data


def test_cifs_keep_occupancies():
    crystal = rock_salt()
    crystal.replace(0, {"Li": 0.5, "Na": 0.25})
    again = read_cif(structure_to_cif(crystal), name="x.cif")
    assert again.composition.as_dict() == pytest.approx(crystal.composition.as_dict())


def test_figures_hold_every_row(tables, scorer):
    both = scoring.combine(*tables).query("problem == ''")
    drawn = both.assign(kind=both["scored_from"])
    bars = plots.probability_histogram(drawn)
    assert sum(sum(t.y) for t in bars.data) == len(drawn)
    assert len(plots.probability_against_distance(drawn, distance="d_composition").data[0].x) == len(drawn)
    kept = drawn.assign(pareto_front=1, rank=1, score=0.5)
    front = plots.pareto_scatter(kept, x="element_cost_usd_kg", y="log10_sigma", log_x=True)
    assert [(t.name, len(t.x)) for t in front.data] == [(f"first Pareto front ({len(kept)})", len(kept))]
    (found,) = explain_candidates(both.head(1), scorer)
    bars = plots.waterfall(found)
    assert bars.data[0].x[0] == found.base and len(bars.data[0].x) == len(found.contributions) + 2
