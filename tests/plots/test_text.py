"""Figures, tables and the answer of notebook 05 from metric records."""

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("torch")

from sselib.plots import text as plots
from sselib.text import CASES, TREES, described_models

LABELS = described_models("minilm")["label"].to_dict()
PROTOCOLS = ["random_stratified", "group_chemsys"]


def _record(protocol, model, features, metric, value, low, high):
    names = {"dataset": "own", "protocol": protocol, "model": model, "features": features, "metric": metric}
    return names | {"value": value, "ci_low": low, "ci_high": high, "n": 9}


def _scores():
    rows = []
    for protocol in PROTOCOLS:
        for k, case in enumerate(CASES):
            rows.append(_record(protocol, "minilm_frozen", case, "mae_bound", 1 - k / 10, 0.5, 1.5))
            rows.append(_record(protocol, TREES, case, "mae_bound", 0.4, 0.3, 0.5))
            for other in ("1nn", f"control_ngrams/{case}", f"{TREES}/{case}"):
                name = f"delta_mae_bound_vs_{other}"
                rows.append(_record(protocol, "minilm_frozen", case, name, -0.2, -0.3, -0.1))
        for case in CASES[1:]:
            name = "delta_mae_bound_vs_minilm_frozen/case1_formula"
            rows.append(_record(protocol, "minilm_frozen", case, name, -0.1, -0.4, 0.2))
        rows.append(_record(protocol, "1nn", "composition", "mae_bound", 1.2, 1.1, 1.3))
        rows.append(_record(protocol, "mean", "none", "mae_bound", 2.2, 2.1, 2.3))
    return pd.DataFrame(rows)


def test_the_best_text_model_is_no_control():
    best = plots.best_text_model(_scores(), dataset="own", protocol="group_chemsys")
    assert (best["model"], best["features"]) == ("minilm_frozen", "case4_both")
    formula = plots.best_text_model(_scores(), dataset="own", protocol="group_chemsys", case="case1_formula")
    assert formula["value"] == 1.0


def test_a_difference_names_both_sides_and_whether_it_is_certain():
    found = plots.mae_differences(_scores(), dataset="own").set_index(["protocol", "features", "other"])
    beaten = found.loc[("group_chemsys", "case4_both", "control_ngrams")]
    assert (beaten["other_features"], beaten["text"]) == ("case4_both", "-0.20 [-0.30, -0.10]")
    assert beaten["better"] and not found.loc[("group_chemsys", "case4_both", "minilm_frozen"), "better"]


def test_the_answer_holds_the_numbers():
    lines = plots.comparison_lines(_scores(), dataset="own", protocols=PROTOCOLS, labels=LABELS)
    assert "0.70 random 80/20 (minilm embeddings, formula, symmetry, disorder)" in lines[0]
    assert lines[1].count("boosted trees -0.20 [-0.30, -0.10]") == 2
    assert lines[2].count("symmetry -0.10 [-0.40, 0.20]") == 2


def test_each_case_is_a_point_with_its_interval_and_controls_are_lines():
    rows = _scores().query("metric == 'mae_bound'")
    figure = plots.error_by_case(rows, models=["minilm_frozen", TREES], protocols=PROTOCOLS, labels=LABELS)
    assert [len(t.x) for t in figure.data] == [4] * 4
    assert {t.name for t in figure.data} == {"minilm embeddings", "boosted trees"}
    assert len(figure.layout.shapes) == 4


def test_errors_stand_beside_kims_by_category():
    table = pd.DataFrame({"id": ["a", "b"], "composition": ["Li2O", "Li2S"], "family": ["other", "other"]})
    predictions = pd.DataFrame({"id": ["a", "b"], "y_true": [-5.0, -4.0], "y_pred": [-6.0, -4.5]}).assign(
        dataset="own", protocol="random_stratified", model="m", features="case2_symmetry", repeat=0, fold=0
    )
    data = type("Data", (), {"table": table})()
    found = plots.beside_kim(predictions, data).set_index("category")
    assert found.loc["oxide", ["mae_bound", "kim_mae"]].tolist() == [1.0, 0.629]
    assert found.loc["sulfide (non-halides)", "mae_bound"] == 0.5 and not np.isnan(found["kim_mae"]).any()
