"""Panels: filters, linked views and what-if sliders by their callbacks, and the static forms."""

import time
from pathlib import Path

import ipywidgets as widgets
import numpy as np
import pandas as pd
import pytest
from IPython.display import HTML

from sselib.curation.merging import curate
from sselib.errors import DataError, FormulaError, ParameterError, RunError
from sselib.panels import dataset, display, model, screening
from sselib.panels.compound import Dataset, card, compound_structure, doi_link, load_dataset, near_duplicates
from sselib.panels.what_if import FormulaWhatIf, substitute, usual_charge
from sselib.panels.widgets import ElementPicker, RowTable
from sselib.runfolder import RunFolder
from sselib.sources import reference
from sselib.validation.splits import protocol_splits

LIMIT_S = 0.2  # process time of a what-if


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """Return a run folder with what notebook 01 writes for the embedded reference set."""
    curation = curate([reference.load()], temperature_min_c=20, temperature_max_c=34, seed=0)
    folder = RunFolder(tmp_path_factory.mktemp("run"), "01_curation")
    for name in ("curated", "measurements", "structures"):
        folder.write_table(name, getattr(curation, name))
    return folder


@pytest.fixture(scope="module")
def data(run: RunFolder) -> Dataset:
    """Return the tables of the run as the panels read them."""
    return load_dataset(run)


@pytest.fixture
def explorer(data: Dataset) -> dataset.DatasetExplorer:
    """Return the live explorer of the reference set."""
    return dataset.DatasetExplorer(data)


def click(figure: object, trace: int, point: int) -> None:
    """Do what the browser does when a point is clicked."""
    device = {"alt": False, "ctrl": False, "meta": False, "shift": False, "button": 0, "buttons": 1}
    figure._js2py_pointsCallback = {
        "event_type": "plotly_click",
        "points": {"trace_indexes": [trace], "point_indexes": [point], "xs": [0], "ys": [0]},
        "device_state": device,
        "selector": None,
    }


# --- where a panel is live -----------------------------------------------------------------------------


def test_a_panel_is_live_only_in_a_kernel_that_a_jupyter_server_started(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(display.SETTING, raising=False)
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    assert not display.is_live()
    monkeypatch.setenv("JPY_SESSION_NAME", "lab/01_curation.ipynb")
    assert display.is_live()
    monkeypatch.setenv(display.SETTING, "static")
    assert not display.is_live()


def test_an_unknown_setting_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(display.SETTING, "on")
    with pytest.raises(ParameterError, match="SSE_PANELS=on is unknown"):
        display.is_live()


def test_only_the_form_that_is_shown_is_built(capsys: pytest.CaptureFixture) -> None:
    def never() -> None:
        raise AssertionError("built in vain")

    display.present(live=lambda: widgets.HTML("slider"), static=never, interactive=True)
    display.present(live=never, static=lambda: [HTML("<p>table</p>")], interactive=False)
    shown = capsys.readouterr().out
    assert "HTML(value='slider')" in shown and "IPython.core.display.HTML object" in shown


def test_a_missing_run_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no run folder"):
        dataset.show(tmp_path / "nowhere")
    with pytest.raises(RunError, match="run notebook 01_curation first"):
        dataset.show(tmp_path)


# --- dataset explorer ------------------------------------------------------------------------------------


def test_filters_select_what_a_reader_would_select(data: Dataset) -> None:
    table = data.table

    def chosen(**named: object) -> pd.DataFrame:
        return table[dataset.matching(table, **named)]

    assert len(chosen()) == len(table)
    assert set(chosen(family=("garnet", "halide"))["family"]) == {"garnet", "halide"}
    assert chosen(sigma=(-4.0, -3.0))["log10_sigma"].between(-4, -3).all()
    assert set(chosen(disorder_class=(dataset.UNKNOWN,))["disorder_class"].isna()) == {True}
    assert chosen(text="li7la3zr2o12")["formula"].str.contains("Li7La3Zr2O12").all()
    bracket = chosen(text="(")["formula"]
    assert 0 < len(bracket) < len(table) and bracket.str.contains("(", regex=False).all()


def test_filters_add_up(data: Dataset) -> None:
    one = dataset.matching(data.table, family=("garnet",))
    two = dataset.matching(data.table, sigma=(-5, 0))
    assert (dataset.matching(data.table, family=("garnet",), sigma=(-5, 0)) == (one & two)).all()


def test_views_follow_the_slider(explorer: dataset.DatasetExplorer) -> None:
    explorer.sigma.value = (-4.0, explorer.sigma.max)
    n = int((explorer.data.table["log10_sigma"] >= -4).sum())
    assert len(explorer.figure.data[3].x) == len(explorer.table.rows) == n
    assert explorer.figure.data[1].y.sum() == n
    assert explorer.status.value.startswith(f"<b>{n} of {len(explorer.data.table)} rows</b>")


def test_element_picker_filters_and_clear_restores(explorer: dataset.DatasetExplorer) -> None:
    explorer.picker.required = ["S"]
    assert all("S" in row[0] for row in explorer.table.rows)
    explorer.picker.excluded, explorer.text.value = ["P"], "xyz"
    assert explorer.table.rows == [] and "no row passes" in explorer.status.value
    explorer.clear()
    assert len(explorer.table.rows) == len(explorer.data.table)


def test_a_click_on_the_map_opens_the_compound_of_that_point(explorer: dataset.DatasetExplorer) -> None:
    explorer.chosen["family"].value = ("halide",)
    expected = explorer.shown.iloc[2]
    click(explorer.figure, 3, 2)
    assert explorer.table.selected == expected["id"]
    assert expected["formula"] in explorer.compound.text.value
    ring = explorer.figure.data[4]
    assert (ring.x[0], ring.y[0]) == (expected["map_x"], expected["map_y"])


def test_a_compound_with_a_structure_is_drawn_and_one_without_says_so(
    explorer: dataset.DatasetExplorer,
) -> None:
    table = explorer.data.table
    known = table["structure_id"].isin(list(explorer.data.structures))
    explorer.table.selected = table.loc[known, "id"].iloc[0]
    kinds = {t["type"] for t in explorer.compound.structure.outputs[0]["data"][display.PLOTLY_MIME]["data"]}
    assert kinds == {"scatter3d", "mesh3d"}
    explorer.table.selected = table.loc[~known, "id"].iloc[0]
    assert explorer.compound.structure.outputs == () and "No source gives" in explorer.compound.text.value


def test_the_card_lists_every_measurement_merged_into_the_row(data: Dataset) -> None:
    compound = data.table.sort_values("n_measurements").iloc[-1]["id"]
    merged = data.measurements[data.measurements["merged_into"] == compound]
    assert all(text in card(data, compound) for text in merged["id"])


def test_the_card_escapes_what_a_source_wrote(data: Dataset) -> None:
    table = data.table.copy()
    table.loc[0, "note"] = "<script>alert(1)</script>"
    changed = Dataset(table, data.measurements.assign(formula="<b>x"), data.structures)
    text = card(changed, table["id"].iloc[0])
    assert "<script>" not in text and "&lt;script&gt;" in text and "<b>x" not in text


def test_near_duplicates_leave_the_compound_itself_out(data: Dataset) -> None:
    groups = data.table["duplicate_group"]
    compound = data.table.loc[groups == groups.mode().iloc[0], "id"].iloc[0]
    others = near_duplicates(data.table, compound)
    assert compound not in set(others["id"]) and len(others) == (groups == groups.mode().iloc[0]).sum() - 1
    assert others["distance_l1"].is_monotonic_increasing and others["distance_l1"].iloc[0] <= 0.02


def test_doi_link_is_a_link_only_where_there_is_a_doi() -> None:
    assert 'href="https://doi.org/10.1038/nmat3066"' in doi_link("10.1038/nmat3066")
    assert doi_link("10.1/a|10.1/b").count("<a href") == 2
    assert doi_link(None) == doi_link(float("nan")) == "–"
    assert '"onclick' not in doi_link('10.1/x"onclick="y')


def test_an_unknown_compound_is_an_error(data: Dataset) -> None:
    with pytest.raises(DataError, match="no compound 'x:1'"):
        card(data, "x:1")
    assert compound_structure(data, data.table.loc[data.table["structure_id"].isna(), "id"].iloc[0]) is None


def test_static_view_of_the_dataset_needs_no_widget(data: Dataset) -> None:
    shown = list(dataset.static_dataset(data))
    assert len(shown) == 5 and not any(isinstance(s, widgets.Widget) for s in shown)
    assert shown[0].data[0].type == "bar" and shown[-1].data[-1].type == "mesh3d"


def test_picker_and_table_hold_plain_values() -> None:
    picker, table = ElementPicker(), RowTable()
    picker.count([{"Li"}, {"Li", "S"}, {"Li", "S", "Cl"}])
    tiles = {t["symbol"]: t for t in picker.elements}
    assert (
        tiles["Li"]["rows"] == 3
        and tiles["He"]["rows"] == 0
        and (tiles["H"]["row"], tiles["H"]["column"]) == (1, 1)
    )
    picker.required, picker.excluded = ["S"], ["Cl"]
    assert picker.matching().tolist() == [False, True, False]
    table.put(pd.DataFrame({"x": [1.5, np.nan], "y": ["a", None]}), ids=pd.Series(["p", "q"]))
    assert table.rows == [[1.5, "a"], [None, None]] and table.ids == ["p", "q"]


# --- substitution and what-if ----------------------------------------------------------------------------


def test_lithium_balances_the_charge() -> None:
    assert substitute("Li7La3Zr2O12", replaced="Zr", by="Ta", fraction=0.25) == "Li6.5La3Zr1.5Ta0.5O12"
    assert substitute("Li6PS5Cl", replaced="S", by="Cl", fraction=0.1) == "Li5.5PS4.5Cl1.5"
    assert substitute("Li7La3Zr2O12", replaced="Zr", by="Ta", fraction=1, balance=False) == "Li7La3Ta2O12"
    assert substitute("LiTi2(PO4)3", replaced="Ti", by="Al", fraction=0) == "LiTi2P3O12"


def test_usual_charges_are_those_of_electrolytes() -> None:
    charges = {"La": 3, "Zr": 4, "Ta": 5, "Al": 3, "Ge": 4, "P": 5, "S": -2, "O": -2, "Cl": -1, "N": -3}
    assert {s: usual_charge(s) for s in charges} == charges


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ({"replaced": "Nb"}, "holds no Nb"),
        ({"by": "Xx"}, "no element"),
        ({"by": "Ar"}, "no common oxidation state"),
        ({"fraction": 1.5}, "impossible"),
        ({"formula": "LiZr2", "by": "W", "fraction": 0.9}, "no lithium left"),
    ],
)
def test_impossible_substitutions_are_named(named: dict, message: str) -> None:
    asked = {"formula": "Li7La3Zr2O12", "replaced": "Zr", "by": "Ta", "fraction": 0.1} | named
    with pytest.raises(FormulaError, match=message):
        substitute(asked.pop("formula"), **asked)


def predict_lithium(formulas: list[str]) -> pd.DataFrame:
    """Return the number after Li as log10_sigma; NaN without lithium."""
    y = [float(f[2:].split("La")[0] or 1) if f.startswith("Li") else np.nan for f in formulas]
    return pd.DataFrame({"log10_sigma": y, "lower": np.array(y) - 1, "upper": np.array(y) + 1})


def test_prediction_follows_the_dopant_slider() -> None:
    what_if = FormulaWhatIf(predict_lithium)
    assert what_if.predicted["log10_sigma"] == 7.0 and what_if.curve.outputs == ()
    what_if.replaced.value, what_if.by.value = "Zr", "Ta"
    assert len(what_if.curve.outputs) == 1
    what_if.fraction.value = 0.25
    assert what_if.replaced_by(0.25) == "Li6.5La3Zr1.5Ta0.5O12" and what_if.predicted["log10_sigma"] == 6.5
    what_if.balance.value = False
    assert what_if.predicted["log10_sigma"] == 7.0


def test_the_curve_ends_where_no_lithium_is_left() -> None:
    what_if = FormulaWhatIf(predict_lithium)
    what_if.formula.value = "Li1La3Zr2O12"
    what_if.replaced.value, what_if.by.value = "Zr", "Ta"
    x = what_if.draw().data[0].x
    assert 0 < max(x) < 0.5, "one lithium is gone once half of Zr is Ta"


def test_a_formula_that_cannot_be_read_is_explained_in_place() -> None:
    what_if = FormulaWhatIf(predict_lithium)
    what_if.formula.value = "Li7La3Zr2O12)"
    assert "Li7La3Zr2O12)" in what_if.output.value
    what_if.formula.value = "NaCl"
    assert "expected a formula with lithium" in what_if.output.value


# --- screening -------------------------------------------------------------------------------------------


@pytest.fixture
def candidates() -> pd.DataFrame:
    """Return five candidates; the last was dropped, one has no band gap."""
    return pd.DataFrame(
        {
            "id": list("abcde"),
            "formula": ["Li3PS4", "Li6PS5Cl", "Li3YCl6", "Li7La3Zr2O12", "LiFePO4"],
            "p_superionic": [0.9, 0.8, 0.7, 0.6, 0.99],
            "band_gap_ev": [2.0, 3.0, np.nan, 5.0, 1.0],
            "dropped_by": ["", "", None, "", "band gap"],
        }
    )


def test_weights_decide_the_order(candidates: pd.DataFrame) -> None:
    one = screening.rank_candidates(candidates, {"p_superionic": 1.0, "band_gap_ev": 0.0})
    assert list(one["id"]) == list("eabcd")
    other = screening.rank_candidates(candidates, {"p_superionic": 0.0, "band_gap_ev": 1.0})
    assert list(other["id"])[:2] == ["d", "b"]
    none = screening.rank_candidates(candidates, {"p_superionic": 0.0})
    assert list(none["id"]) == list("abcde") and none["score"].isna().all()


def test_a_missing_value_passes_only_if_asked(candidates: pd.DataFrame) -> None:
    limits = {"band_gap_ev": (2.5, 6.0)}
    assert list(screening.passing(candidates, limits)) == [False, True, True, True, False]
    assert list(screening.passing(candidates, limits, keep_unknown=False)) == [
        False,
        True,
        False,
        True,
        False,
    ]


def test_a_candidate_card_begins_with_its_scores() -> None:
    row = pd.Series({"id": "a", "formula": "Li3N", "note": "", "band_gap_ev": 1.5, "p_superionic": 0.9})
    card = screening.candidate_card(row)
    order = [card.index(text) for text in ("P(superionic)", "gap / eV", ">id<")]
    assert order == sorted(order)
    assert "note" not in card


def test_panel_follows_filters_weights_and_elements(candidates: pd.DataFrame) -> None:
    panel = screening.ScreeningPanel(screening.screening_data(candidates, structures={}))
    assert panel.ranked["id"].iloc[0] == "a" and "e" not in set(panel.ranked["id"])
    panel.only_kept.value = False
    assert "e" in set(panel.ranked["id"])
    panel.limits["p_superionic"].value = (0.75, 1.0)
    assert set(panel.ranked["id"]) == set("abe")
    panel.picker.excluded = ["Fe"]
    assert set(panel.ranked["id"]) == set("ab")
    panel.weights["p_superionic"].value, panel.weights["band_gap_ev"].value = 0.0, 3.0
    assert panel.table.ids == ["b", "a"]
    panel.table.selected = "b"
    assert "Li6PS5Cl" in panel.card.text.value


def test_every_candidate_can_be_reached_with_the_sliders_as_they_start(candidates: pd.DataFrame) -> None:
    panel = screening.ScreeningPanel(screening.screening_data(candidates, structures={}))
    for column, slider in panel.limits.items():
        assert slider.min <= candidates[column].min() and slider.max >= candidates[column].max()


def test_a_large_table_is_cut_to_the_best_and_says_so(candidates: pd.DataFrame) -> None:
    many = pd.concat([candidates] * 1200, ignore_index=True)
    many = many.assign(id=[str(k) for k in range(len(many))], rank=np.arange(len(many))[::-1] + 1)
    data = screening.screening_data(many, structures={})
    assert len(data.table) == screening.MAX_ROWS and data.table["rank"].max() == screening.MAX_ROWS
    assert "best of 6000" in list(screening.static_candidates(data))[1].data


def test_missing_columns_are_tolerated_but_not_all_of_them(candidates: pd.DataFrame) -> None:
    bare = candidates[["id", "formula", "p_superionic"]]
    assert len(list(screening.static_candidates(screening.screening_data(bare, structures={})))) == 2
    with pytest.raises(DataError, match="1 scores"):
        screening.ScreeningPanel(screening.screening_data(bare, structures={}))
    with pytest.raises(DataError, match="lacks \\['formula'\\]"):
        screening.screening_data(bare[["id"]], structures={})


# --- model explorer --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model_data(data: Dataset) -> model.ModelData:
    """Return predictions of two models on the reference set, SHAP of a sum, and a trained formula model."""
    from sselib.features.stoichiometry import fraction_features
    from sselib.regression.conductivity_model import train_conductivity_model
    from sselib.regression.explain import shap_out_of_fold

    table = data.table.head(60)
    features = fraction_features(list(table["composition"]))[0].assign(id=table["id"].to_numpy())
    columns = [c for c in features if c != "id"]
    splits = protocol_splits("kfold5", table, seed=0)
    shap = shap_out_of_fold(table, features, columns, splits=splits)
    held = shap.drop_duplicates("id").merge(table[["id", "formula", "family", "censored"]], on="id")
    frames = [
        held[["id", "formula", "family", "censored", "y_true"]].assign(
            y_pred=y, dataset="reference", model=name, features=kind, protocol="kfold5", repeat=0
        )
        for name, kind, y in (("xgb_single", "all", held["y_pred"]), ("mean", "none", held["y_true"].mean()))
    ]
    formula_model = train_conductivity_model(data.table)
    return model.ModelData(pd.concat(frames), shap, {}, formula_model, "")


def test_waterfall_leads_from_the_mean_to_the_prediction(model_data: model.ModelData) -> None:
    compound = model_data.shap["id"].iloc[0]
    trace = model.compound_waterfall(model_data, compound).data[0]
    expected = model_data.shap.loc[model_data.shap["id"] == compound, "y_pred"].iloc[0]
    assert sum(trace.x) == pytest.approx(expected, abs=1e-4)
    assert model.compound_waterfall(model_data, "x:1") is None


def test_figure_and_table_follow_the_model(model_data: model.ModelData) -> None:
    panel = model.ModelExplorer(model_data)
    assert panel.model.value == ("reference", "xgb_single", "all"), "controls come last"
    first = panel.status.value
    panel.model.value = ("reference", "mean", "none")
    assert panel.status.value != first
    assert np.ptp(np.asarray(panel.figure.data[1].y, float)) == pytest.approx(0)
    errors = [abs(row[-1]) for row in panel.table.rows]
    assert errors == sorted(errors, reverse=True)


def test_error_by_family_is_that_of_the_selected_points(model_data: model.ModelData) -> None:
    panel = model.ModelExplorer(model_data)
    panel.select([0, 1, 2])
    some = panel.rows.iloc[:3]
    assert sum(int(name.split("(")[1][:-1]) for name in panel.figure.data[3].y) == 3
    assert f"mean absolute error {some['error'].abs().mean():.2f}" in panel.status.value
    panel.select(None)
    assert len(panel.figure.data[3].y) == panel.rows["family"].nunique()


def test_a_click_explains_the_compound_and_takes_its_formula(model_data: model.ModelData) -> None:
    panel = model.ModelExplorer(model_data)
    click(panel.figure, 1, 5)
    row = panel.rows.iloc[5]
    assert panel.table.selected == row["id"] and panel.formula.formula.value == row["formula"]
    title = panel.waterfall.outputs[0]["data"][display.PLOTLY_MIME]["layout"]["title"]["text"]
    assert row["formula"] in title


def test_what_if_answers_within_200_ms_of_process_time(model_data: model.ModelData) -> None:
    panel = model.ModelExplorer(model_data)
    panel.formula.formula.value = "Li7La3Zr2O12"
    panel.formula.replaced.value, panel.formula.by.value = "Zr", "Ta"
    before = time.process_time()
    panel.formula.fraction.value = 0.3
    assert time.process_time() - before < LIMIT_S
    assert panel.formula.predicted.loc[["lower", "log10_sigma", "upper"]].is_monotonic_increasing


def test_static_view_of_the_models(model_data: model.ModelData) -> None:
    shown = list(model.static_models(model_data))
    assert len(shown) == 4 and shown[3].data[0].type == "waterfall"


def test_without_a_formula_model_the_reason_is_shown(model_data: model.ModelData) -> None:
    from dataclasses import replace

    panel = model.ModelExplorer(
        replace(model_data, formula_model=None, no_formula_model="run notebook 04 first")
    )
    assert panel.formula is None
    assert "run notebook 04 first" in panel.view.children[-1].value
