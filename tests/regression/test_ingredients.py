"""Ingredients of the ablation: columns, and rows that must not leak into a split."""

import numpy as np
import pandas as pd
import pytest
from pymatgen.core import Lattice, Structure

from sselib.columns import Curated, Entry
from sselib.features.site_features import SiteSet
from sselib.materials.composition import canonical, chemical_system
from sselib.materials.structures import structure_to_json
from sselib.regression.evaluation import Case, Settings
from sselib.regression.ingredients import (
    STEPS,
    TEMPERATURES,
    ablation,
    ablation_table,
    by_lithium,
    composition_embedding,
    evaluate_with_temperatures,
    fitted_names,
    principal_components,
    structure_gain,
    with_barriers,
    with_conductivity_kind,
    with_element_embedding,
    with_variants,
)
from sselib.regression.models import MODELS, ModelOptions, feature_columns


def table(n: int = 60) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    cations = ["Zr", "Ti", "P", "Ge", "Al", "Si"]
    formulas = [f"Li3{cations[k % 6]}S{x:.3f}O{4 - x:.3f}" for k, x in enumerate(rng.uniform(0.1, 3.9, n))]
    return pd.DataFrame(
        {
            Entry.ID: [f"m:{k}" for k in range(n)],
            Entry.COMPOSITION: [canonical(f) for f in formulas],
            Entry.LOG10_SIGMA: rng.normal(-6, 1, n),
            Entry.CENSORED: False,
            Entry.CONDUCTIVITY_KIND: ["bulk", "total", None] * (n // 3),
            Curated.FAMILY: "sulfide_other",
            Curated.CHEMICAL_SYSTEM: [chemical_system(f) for f in formulas],
        }
    )


def test_flags_of_bulk_and_total() -> None:
    rows = table(6)
    features, groups = with_conductivity_kind(
        pd.DataFrame({"id": rows[Entry.ID]}), pd.DataFrame(columns=["feature", "group", "kim"]), rows
    )
    assert features[["measured_bulk", "measured_total"]].to_numpy().tolist() == [[1, 0], [0, 1], [0, 0]] * 2
    assert groups["group"].tolist() == ["measurement"] * 2


def test_rows_of_another_temperature_train_unless_they_belong_to_the_test_rows() -> None:
    rows = table()
    settings = Settings(options=ModelOptions(n_trees=10))
    case = Case("made-up", "extra_trees", "formula", "group_chemsys")
    new = pd.DataFrame(
        {
            Entry.ID: ["x"],
            Entry.COMPOSITION: [canonical("Li3YCl6")],
            Entry.DOI: [None],
            Curated.FAMILY: ["halide"],
            Entry.LOG10_SIGMA: [-3.0],
        }
    )
    without = evaluate_with_temperatures(rows, new.iloc[:0], case=case, settings=settings)
    far = evaluate_with_temperatures(rows, new, case=case, settings=settings)
    assert without[["id", "y_true"]].equals(far[["id", "y_true"]])
    assert (without["y_pred"] != far["y_pred"]).any()
    own = new.assign(**{Entry.COMPOSITION: rows[Entry.COMPOSITION][:1], Entry.LOG10_SIGMA: 5.0})
    leaked = evaluate_with_temperatures(rows, own, case=case, settings=settings)
    same = rows[Curated.CHEMICAL_SYSTEM] == rows[Curated.CHEMICAL_SYSTEM][0]
    of_system = leaked["id"].isin(rows.loc[same, Entry.ID]).to_numpy()
    assert np.array_equal(leaked["y_pred"][of_system], without["y_pred"][of_system])


def made_up_predictions(ids: list[str], *, y_pred: list[float]) -> pd.DataFrame:
    """Return predictions of rows whose label is -5, without model and interval."""
    frame = pd.DataFrame({"id": ids, "y_pred": y_pred})
    missing = {"lower": np.nan, "upper": np.nan, "p_superionic": np.nan}
    place = {"dataset": "made-up", "features": "formula", "protocol": "kfold5", "repeat": 0, "fold": 0}
    return frame.assign(y_true=-5.0, censored=False, **missing, **place)


def test_the_blend_is_made_where_both_members_ran_and_no_source_is_read_unasked() -> None:
    rows = made_up_predictions(["a", "b"] * 2, y_pred=[-4.0, -5.0, -6.0, -7.0])
    rows["model"] = ["gp", "gp", "extra_trees", "extra_trees"]
    asked = {"names": ["gp/formula"], "protocols": ["kfold5"], "settings": Settings(), "entries": table(6)}
    found = with_variants(rows, table(6), table(6), **asked)
    assert found[found["model"] == "blend"]["y_pred"].tolist() == [-5.0, -6.0]
    alone = with_variants(rows[:2], table(6), table(6), **asked)
    assert len(alone) == 2
    assert fitted_names(["gp/formula", f"gp/{TEMPERATURES}"]) == ["gp/formula"]


def test_what_a_structure_adds_is_judged_on_rows_with_a_structure() -> None:
    main = table(6).assign(structure_id=["s0", "s1", "s2", None, None, None])
    structures = pd.DataFrame({"structure_id": ["s0", "s1", "s2"]})
    one = made_up_predictions(list(main[Entry.ID]), y_pred=[-6.0, -6.0, -6.0, 0.0, 0.0, 0.0])
    one = one.assign(model="routed", lower=-7.0, upper=-4.0)
    both = pd.concat([one, one.assign(features="formula_environment", y_pred=-5.5)])
    found = structure_gain(both, main, structures=structures, protocols=["kfold5"], n_bootstrap=20)
    assert found["n"].tolist() == [3, 3]
    assert found["mae_bound"].str[:4].tolist() == ["1.00", "0.50"]
    assert found["delta_mae_bound_vs_routed/formula"].str[:5].tolist()[1] == "-0.50"
    assert structure_gain(both, main, structures=structures[:0], protocols=["kfold5"]).empty


def test_steps_name_models_and_feature_sets_that_exist() -> None:
    groups = pd.DataFrame({"feature": ["a"], "group": ["formula"], "kim": [True]})
    assert len({ingredient for *_, ingredient in STEPS}) == len(STEPS)
    for name in {n for with_it, without_it, _ in STEPS for n in (with_it, without_it)}:
        model, features = name.split("/")
        assert model in (*MODELS, "blend")
        assert features == TEMPERATURES or feature_columns(groups, features) == ["a"]


def test_ablation_lists_each_step_that_was_run_with_its_interval() -> None:
    def record(name: str, against: str) -> dict[str, object]:
        metric = f"delta_mae_bound_vs_{against}"
        return {"name": name, "metric": metric, "protocol": "group_doi", "value": -0.1, "ci_low": -0.2,
                "ci_high": 0.0, "n": 9}  # fmt: skip

    found = ablation(pd.DataFrame([record("gp/formula", "xgb_single/formula"), record("gp/formula", "mean")]))
    assert len(found) == 1
    assert found.loc[0, ["with_it", "without_it"]].tolist() == ["gp/formula", "xgb_single/formula"]
    assert found.loc[0, "ingredient"] == "Gaussian process instead of boosting"
    shown = ablation_table(found)
    assert shown.loc["Gaussian process instead of boosting", "group_doi"] == "-0.10 [-0.20, 0.00]"


@pytest.mark.mirror
def test_embedding_of_a_composition_is_that_of_its_framework(mirror: object) -> None:
    found = composition_embedding(["Li3PS4", "P2Li6S8", "Li2S", "Li4S"])
    assert found.shape == (4, 32)
    assert np.allclose(found[0], found[1])
    assert np.allclose(found[2], found[3])
    assert np.allclose(found[2, 16:], 0, atol=1e-3)  # sulfur alone has no spread
    rows = table(6)
    empty = pd.DataFrame(columns=["feature", "group", "kim"])
    features, groups = with_element_embedding(pd.DataFrame({"id": rows[Entry.ID]}), empty, rows)
    formula = pd.DataFrame({"feature": ["mole_fraction_Li"], "group": ["formula"], "kim": [False]})
    assert len(feature_columns(pd.concat([formula, groups]), "formula_embedding")) == 33
    assert features.notna().all(axis=None)


def test_lithium_and_framework_are_averaged_apart_by_their_occupancies() -> None:
    values = np.array([[1.0], [3.0], [10.0]])
    occupancy = np.array([[1, 1, 1], [0.5, 1, 2], [0, 1, 1]])  # lithium, all, species
    mixed = SiteSet(np.hstack([values, occupancy]), np.array([2.0, 2.0, 4.0]))
    found = by_lithium([mixed, SiteSet(np.hstack([values, occupancy])[:1], np.ones(1))])
    assert np.allclose(found[0], [(2 * 1 + 1 * 3) / 3, (1 * 3 + 4 * 10) / 5])
    assert found[1, 0] == 1 and np.isnan(found[1, 1])


def test_components_find_the_one_direction_in_which_rows_differ() -> None:
    along = np.linspace(-1, 1, 20)
    values = np.outer(along, [1.0, -2.0, 0.5])
    found = principal_components(values, n=2)
    assert np.corrcoef(found[:, 0], along)[0, 1] ** 2 == pytest.approx(1)
    assert np.allclose(found[:, 1], 0)
    values[0, 0] = np.nan
    assert np.isfinite(principal_components(values, n=2)).all()


def test_barriers_belong_to_the_rows_with_their_structure() -> None:
    pytest.importorskip("bvlain")
    crystal = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.71), ["Li", "S"], [[0.25] * 3, [0] * 3])
    rows = table(6).assign(**{Entry.STRUCTURE_ID: ["s", None, "s", None, None, None]})
    structures = pd.DataFrame({"structure_id": ["s"], "structure_json": [structure_to_json(crystal)]})
    empty = pd.DataFrame(columns=["feature", "group", "kim"])
    features, groups = with_barriers(pd.DataFrame({"id": rows[Entry.ID]}), empty, rows, structures)
    assert features["barrier_1d_ev"].notna().tolist() == [True, False, True, False, False, False]
    assert groups["unit"].tolist() == ["eV"] * 3
