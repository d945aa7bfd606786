"""`sse predict`: one row per input in order, bad inputs kept with a note, the same scores in any chunks."""

import csv
import io
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from cif_text import p1_cif

from sselib import cli
from sselib.columns import Curated, Entry
from sselib.errors import DataError, ParameterError, RunError, SSEError
from sselib.materials.composition import canonical, chemical_system, element_fractions
from sselib.materials.structure_input import CifLimits
from sselib.prediction import inputs, scorer
from sselib.prediction import predict as module
from sselib.prediction.inputs import SeenInputs, n_cores
from sselib.prediction.predict import COLUMNS, PredictRequest
from sselib.prediction.scorer import robust
from sselib.regression.conductivity_model import save_conductivity_model, train_conductivity_model
from sselib.regression.models import ModelOptions

FORMULAS = ["Li6PS5Cl", "Li6PS5Br", "Li3PS4", "Li2S", "LiF", "Li3PO4", "LiCl", "Li7P3S11", "LiTi2P3O12"]
TRAINING = pd.DataFrame(
    {
        "id": [f"t{k}" for k in range(9)],
        "formula": FORMULAS,
        "log10_sigma": np.linspace(-2, -10, 9),
        "censored": [False] * 8 + [True],
        "family": "other",
    }
)


class Conductivity:
    """Stand-in for the saved regressor: the value is the share of lithium, and some inputs make it fail."""

    name = "stand-in"
    training = TRAINING

    def predict(self, formulas, *, structures=None, confidence=0.9) -> pd.DataFrame:
        if any("Hg" in f for f in formulas):
            raise FloatingPointError("mercury")
        share = element_fractions(formulas)["Li"].to_numpy()
        volumes = [0.0] * len(formulas) if structures is None else [s.volume / 1000 for s in structures]
        y = np.where(share > 0.99, np.nan, share) + np.array(volumes)
        return pd.DataFrame({"log10_sigma": y, "lower": y - confidence, "upper": y + confidence})


class Superionic:
    """Stand-in for the ensemble."""

    def predict_formulas(self, formulas) -> pd.DataFrame:
        return pd.DataFrame(
            {"p_superionic": 0.5, "p_superionic_sd": 0.1, "d_training": 0.0, "note": "of the ensemble"},
            index=range(len(formulas)),
        )

    def predict_structures(self, structures) -> pd.DataFrame:
        return self.predict_formulas(structures).assign(d_training=[len(s) for s in structures])


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run folder whose models are stand-ins."""
    monkeypatch.setattr(scorer, "load_conductivity_model", lambda run, inputs: Conductivity())
    monkeypatch.setattr(scorer, "load_superionic_model", lambda run: Superionic())
    monkeypatch.setattr(scorer, "n_cores", lambda: 2)  # threads take part wherever the tests run
    monkeypatch.setattr(inputs, "n_cores", lambda: 1)  # a second child would only take time to start
    (tmp_path / "RUN").mkdir()
    return tmp_path / "RUN"


def scored(source: Path, run: Path, **options: object) -> pd.DataFrame:
    """Predict, and read the output as text."""
    out = run.parent / "out.csv"
    module.predict(PredictRequest(source, run, out, **options), say=lambda text: None)
    return pd.read_csv(out, dtype=str, keep_default_na=False)


def table(folder: Path, *formulas: str, name: str = "in.csv") -> Path:
    with (folder / name).open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("id", "formula"), *((f"i{k}", f) for k, f in enumerate(formulas))])
    return folder / name


def test_one_row_per_input_in_order_with_the_columns_promised(run: Path) -> None:
    given = [
        "Li3PS4",
        "nonsense",
        "Li₂S",
        "",
        "NaCl",
        "LiI·3H2O",
        "Li6P2S10",
        "LiHgCl3",
        "Li3PS4",
        "Li",
        "LiU",
    ]
    found = scored(table(run.parent, *given), run)
    assert list(found.columns) == list(COLUMNS) == [
        "id",
        "formula",
        "log10_sigma",
        "lower",
        "upper",
        "p_superionic",
        "p_superionic_sd",
        "d_training",
        "in_domain",
        "nearest",
        "model",
        "note",
    ]  # fmt: skip
    assert found["formula"].tolist() == given and found["id"].tolist() == [f"i{k}" for k in range(11)]
    has_value = (found["log10_sigma"] != "").tolist()
    assert has_value == [True, False, True, False, False, True, True, False, True, False, True]
    notes = found["note"].tolist()
    assert "reads like a name" in notes[1] and "missing" in notes[3] and "no lithium" in notes[4]
    assert "read as the sum of LiI and 3H2O" in notes[5] and "not scored: mercury" in notes[7]
    assert "same composition as row 1" in notes[8] and "same composition" not in notes[0]
    assert "gives no value" in notes[9] or "of the ensemble" in notes[9]
    assert "not in training: U" in notes[10] and found["in_domain"][10] == "False"
    assert "among the training" in notes[0] and found["nearest"][0].startswith("Li3PS4: log10 sigma -4.00")
    assert found.loc[7, "p_superionic"] == "0.5000"  # one model failing leaves the other's score
    empty = found[found["note"].str.contains("reads like|missing|no lithium")]
    assert (empty[list(COLUMNS[2:-1])] == "").all(axis=None)


def test_scores_do_not_depend_on_chunks_or_on_the_other_inputs(run: Path) -> None:
    rng = np.random.default_rng(0)
    formulas = [f"Li{a:.2f}P{b:.2f}S{c:.2f}" for a, b, c in rng.uniform(0.1, 5, (220, 3))]
    formulas[150] = "LiHg"
    whole = scored(table(run.parent, *formulas), run)
    for chunk in (17, 219):
        pd.testing.assert_frame_equal(scored(table(run.parent, *formulas), run, chunk=chunk), whole)
    alone = scored(table(run.parent, formulas[123]), run)
    assert alone.iloc[0, 1:].tolist() == whole.iloc[123, 1:].tolist()


def test_the_interval_has_the_confidence_asked_for(run: Path) -> None:
    found = scored(table(run.parent, "Li3PS4"), run, confidence=0.5).astype({"lower": float, "upper": float})
    assert found["upper"][0] - found["lower"][0] == pytest.approx(1.0, abs=1e-3)


def test_a_folder_of_cifs_is_scored_with_its_structures(run: Path) -> None:
    folder = run.parent / "cifs"
    (folder / "sub").mkdir(parents=True)
    for name, el, a in (("b", "Li", 5), ("a", "Li", 6), ("sub/same", "Li", 5), ("na", "Na", 5)):
        (folder / f"{name}.cif").write_text(p1_cif(element=el, a_angstrom=a))
    (folder / "c.cif").write_text("broken")
    (folder / "empty.cif").write_text(" \n")
    found = scored(folder, run)
    assert found["id"].tolist() == ["a.cif", "b.cif", "c.cif", "empty.cif", "na.cif", "sub/same.cif"]
    assert found["formula"].tolist() == ["LiCl", "LiCl", "", "", "NaCl", "LiCl"]
    assert found["log10_sigma"].tolist() == ["0.5960", "0.5800", "", "", "", "0.5800"]
    assert found["d_training"][0] == "2.0000" and "0 unit cells" in found["note"][2]
    assert "empty.cif is empty" in found["note"][3]
    assert "no lithium" in found["note"][4] and "same file content as row 2" in found["note"][5]
    one = scored(folder / "b.cif", run)
    assert one.loc[0, "log10_sigma"] == "0.5800" and one.loc[0, "id"] == "b.cif"


def test_a_structure_that_its_model_cannot_read_is_scored_from_its_formula(run: Path, monkeypatch) -> None:
    class OfStructures(Conductivity):
        name = "reads structures"

        def predict(self, formulas, *, structures=None, confidence=0.9) -> pd.DataFrame:
            if any(90 < s.volume < 100 for s in structures):
                raise ValueError("no hop")
            return super().predict(formulas, structures=structures, confidence=confidence)

    models = {"formula": Conductivity(), "structure": OfStructures()}
    monkeypatch.setattr(scorer, "load_conductivity_model", lambda run, inputs: models[inputs])
    folder = run.parent / "cifs"
    folder.mkdir()
    for name, a in (("a", 5), ("b", 6)):
        (folder / f"{name}.cif").write_text(p1_cif(a_angstrom=a))
    found = scored(folder, run)
    assert found["log10_sigma"].tolist() == ["0.5800", "0.5000"]
    assert found["model"].tolist() == [f"{n} + superionic model" for n in ("reads structures", "stand-in")]
    assert "no hop; the conductivity comes from the formula alone" in found["note"][1]
    assert "formula alone" not in found["note"][0]


def _folder_with_one_unreadable(folder: Path, n: int) -> Path:
    folder.mkdir()
    for k in range(n):
        text = "data_\n_cell_length_a what" if k == n // 2 else p1_cif(a_angstrom=5 + k / n)
        (folder / f"{k:05d}.cif").write_text(text)
    return folder


@pytest.mark.parametrize("n", [300, pytest.param(10_000, marks=pytest.mark.slow)])
def test_one_unreadable_file_among_many_costs_its_own_row(run: Path, n: int) -> None:
    found = scored(_folder_with_one_unreadable(run.parent / "many", n), run)
    assert found["id"].tolist() == [f"{k:05d}.cif" for k in range(n)]
    assert (
        found.index[found["log10_sigma"] == ""].tolist() == [n // 2]
        and "cannot be read" in found["note"][n // 2]
    )


@pytest.mark.parametrize(
    ("occupancy", "second", "note"),
    [
        (1.02, 0.5, "add up to more than 1; they were scaled to 1"),
        (1.5, 0.5, "not scored: the occupancies of a site add up to 1.50"),
        (1.0, 0.002, "not scored: sites 0.01 Angstrom apart are both filled"),
        (0.5, 0.002, ""),
        (1.0, 0.5, ""),
    ],
)
def test_impossible_sites_of_a_cif_are_noted(run: Path, occupancy: float, second: float, note: str) -> None:
    lines = p1_cif(a_angstrom=5).splitlines()
    sites = [f"Li1 Li 0 0 0 {occupancy}", f"Li2 Li {second} 0 0 {min(occupancy, 1)}", "Cl1 Cl 0.5 0.5 0.5 1"]
    path = run.parent / "odd.cif"
    path.write_text("\n".join([*lines[:-2], "_atom_site_occupancy", *sites]) + "\n")
    found = scored(path, run)
    assert (found["log10_sigma"][0] == "") == ("not scored" in note) and note in found["note"][0]
    assert note or not ("apart" in found["note"][0] or "scaled" in found["note"][0])


def test_a_header_without_rows_is_said(run: Path) -> None:
    said: list[str] = []
    path = run.parent / "header.csv"
    path.write_text("id,formula\n")
    done = module.predict(PredictRequest(path, run, run.parent / "out.csv"), say=said.append)
    assert (done.rows, done.scored) == (0, 0) and "no row below it" in said[-1]


def test_an_interval_that_says_nothing_is_called_unknown(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = table(run.parent, "Li3PS4", "LiC9")
    found = scored(path, run)
    width = found["upper"].astype(float) - found["lower"].astype(float)
    assert width[1] > width[0]
    monkeypatch.setattr(module, "_WIDE", float(width.mean()))
    notes = scored(path, run)["note"]
    assert "read as unknown" not in notes[0] and f"interval of {width[1]:.0f} units" in notes[1]


def test_an_input_outside_the_domain_says_how_far(run: Path) -> None:
    found = scored(table(run.parent, "Li3PS4", "LiC9"), run)
    assert "outside the domain" not in found["note"][0]
    assert found["in_domain"][1] == "False" and "outside the domain" in found["note"][1]


def test_a_cif_of_50_mb_is_a_note(run: Path) -> None:
    """It is refused by its size; a limit that admits it has it read and refused for what it holds."""
    with (run.parent / "large.cif").open("wb") as file:
        file.truncate(50_000_000)
    found = scored(run.parent / "large.cif", run)
    assert "50.0 MB: at most 5 MB are read (--max-cif-mb)" in found["note"][0]
    again = scored(run.parent / "large.cif", run, limits=CifLimits(max_bytes=60_000_000))
    assert "0 unit cells" in again["note"][0]


def test_an_interrupted_output_is_resumed_with_the_same_result(run: Path, monkeypatch) -> None:
    formulas = [f"Li{k + 1}PS4" for k in range(40)] + ["Li1PS4"]
    source, out = table(run.parent, *formulas), run.parent / "out.csv"
    whole = scored(source, run)
    out.unlink()
    calls, predict_formulas = [], Superionic.predict_formulas

    def interrupted(self, given) -> pd.DataFrame:
        calls.append(len(given))
        if len(calls) == 4:  # the trial and two chunks went well
            raise KeyboardInterrupt
        return predict_formulas(self, given)

    monkeypatch.setattr(Superionic, "predict_formulas", interrupted)
    with pytest.raises(KeyboardInterrupt):
        scored(source, run, chunk=10)
    assert not out.exists()
    calls[:] = [0] * 10
    said = []
    module.predict(PredictRequest(source, run, out, chunk=10, resume=True), say=said.append)
    assert any("20 rows are there already" in text for text in said)
    assert sum(calls[10:]) == 1 + 21  # the trial, and what was left
    pd.testing.assert_frame_equal(pd.read_csv(out, dtype=str, keep_default_na=False), whole)
    assert not list(run.parent.glob(".out*"))


def test_without_the_ensemble_its_columns_are_empty_and_that_is_said_once(run: Path, monkeypatch) -> None:
    def none(run: Path) -> None:
        raise RunError("no ensemble here")

    monkeypatch.setattr(scorer, "load_superionic_model", none)
    said = []
    out = run.parent / "out.csv"
    module.predict(PredictRequest(table(run.parent, "LiF", "LiCl"), run, out), say=said.append)
    found = pd.read_csv(out, dtype=str, keep_default_na=False)
    assert (found[["p_superionic", "p_superionic_sd", "d_training"]] == "").all(axis=None)
    assert (found["log10_sigma"] != "").all() and sum("no ensemble here" in text for text in said) == 1


def test_a_model_that_never_works_is_one_error_before_anything_is_written(run: Path, monkeypatch) -> None:
    def broken(self, *args: object, **kwargs: object) -> None:
        raise AttributeError("old version")

    monkeypatch.setattr(Conductivity, "predict", broken)
    with pytest.raises(RunError, match=r"does not work .*old version.*run notebooks 04"):
        scored(table(run.parent, "LiF"), run)
    assert not list(run.parent.glob("*out*"))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"confidence": 1.0}, ParameterError, "between 0 and 1"),
        ({"confidence": float("nan")}, ParameterError, "between 0 and 1"),
        ({"chunk": 0}, ParameterError, "at least 1"),
        ({"source": Path("-"), "resume": True}, ParameterError, "cannot be resumed"),
        ({"source": Path("nowhere")}, DataError, "no input at 'nowhere'"),
        ({"run": Path("nowhere")}, RunError, "no run folder"),
    ],
)
def test_impossible_requests(run: Path, options: dict, error: type[SSEError], message: str) -> None:
    request = {"source": table(run.parent, "LiF"), "run": run, "out": run.parent / "out.csv"} | options
    with pytest.raises(error, match=message):
        module.predict(PredictRequest(**request), say=lambda text: None)
    assert not list(run.parent.glob("*out*"))


def test_the_input_is_never_overwritten(run: Path) -> None:
    source = table(run.parent, "LiF", name="out.csv")
    with pytest.raises(ParameterError, match="is the input itself"):
        scored(source, run)
    assert "LiF" in source.read_text()


def test_standard_input_is_a_list_or_a_table(run: Path, monkeypatch) -> None:
    for text, ids in (("Li2S\nLiF\n", ["1", "2"]), ("formula;id\nLi2S;a\nLiF;b\n", ["a", "b"])):
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(text.encode())))
        found = scored(Path("-"), run)
        assert found["id"].tolist() == ids and found["formula"].tolist() == ["Li2S", "LiF"]


def test_the_first_of_equal_inputs_is_found_across_chunks() -> None:
    rng = np.random.default_rng(1)
    keys = [bytes([k]) * 8 if k else b"" for k in rng.integers(0, 40, 300)]
    expected = [0 if k == b"" or keys.index(k) == i else keys.index(k) + 1 for i, k in enumerate(keys)]
    for size in (1, 7, 300):
        seen = SeenInputs()
        assert [r for i in range(0, 300, size) for r in seen.first_rows(keys[i : i + size])] == expected


@pytest.mark.parametrize("bad", [[], [0], [3, 4, 9], list(range(10))])
def test_an_item_that_makes_a_model_fail_loses_only_its_own_row(bad: list[int]) -> None:
    def model(items: list[int]) -> pd.DataFrame:
        if set(items) & set(bad):
            raise ValueError("bad item")
        return pd.DataFrame({"x": items, "note": ["odd" if i % 2 else "" for i in items]})

    found = robust(model, range(10), ["x"])
    assert np.isnan(found["x"]).to_numpy().nonzero()[0].tolist() == bad
    said = ["not scored: bad item" if i in bad else "odd" if i % 2 else "" for i in range(10)]
    assert found["note"].tolist() == said
    assert (found["x"].dropna() == [i for i in range(10) if i not in bad]).all()


def test_a_model_that_returns_too_few_rows_is_no_silent_shift() -> None:
    found = robust(lambda items: pd.DataFrame({"x": [1.0]}), [1, 2], ["x"])
    assert found["x"].tolist() == [1.0, 1.0] and not found["note"].any()  # each item alone is one row
    found = robust(lambda items: pd.DataFrame({"x": []}), [1], ["x"])
    assert found["x"].isna().all() and "0 rows for 1 inputs" in found["note"][0]


def test_cores_are_counted() -> None:
    assert 1 <= n_cores() <= 4


def _trained_run(root: Path) -> Path:
    """A run folder with a real, small model of notebook 04."""
    rng = np.random.default_rng(0)
    formulas = [
        f"Li3{el}S{x:.2f}O{4 - x:.2f}"
        for el in ("P", "Ge", "Si", "As", "Al", "Sn")
        for x in (0.3, 1, 1.7, 2.4, 3)
    ]
    labelled = pd.DataFrame(
        {
            Entry.ID: [f"made-up:{k}" for k in range(len(formulas))],
            Entry.FORMULA: formulas,
            Entry.COMPOSITION: [canonical(f) for f in formulas],
            Entry.LOG10_SIGMA: rng.uniform(-9, -3, len(formulas)),
            Entry.CENSORED: False,
            Entry.TEMPERATURE_C: 25.0,
            Curated.FAMILY: [f"family {k // 5}" for k in range(len(formulas))],
            Curated.CHEMICAL_SYSTEM: [chemical_system(f) for f in formulas],
            Curated.DUPLICATE_GROUP: np.arange(len(formulas)),
            Curated.N_MEASUREMENTS: 1,
        }
    )
    model = train_conductivity_model(labelled, options=ModelOptions(n_trees=9))
    save_conductivity_model(model, folder=root / "04_gbr_shap" / "models")
    return root


def test_the_command_scores_with_a_real_model_and_ends_with_0_1_or_2(tmp_path: Path, capsys) -> None:
    run, out = _trained_run(tmp_path / "RUN"), tmp_path / "out.csv"
    source = table(tmp_path, "Li3PS4", "LLZO", "Li2In1/3Sc1/3Cl4")
    assert cli.main(["predict", str(source), "--run", str(run), "--out", str(out)]) == 0
    printed = capsys.readouterr()
    assert "out.csv: 3 rows, 2 scored, 1 with a note instead" in printed.out
    found = pd.read_csv(out)
    assert found["log10_sigma"].notna().tolist() == [True, False, True]
    assert found["p_superionic"].isna().all() and "p_superionic_sd and d_training stay empty" in printed.err
    assert found["in_domain"].tolist()[2] == False  # noqa: E712 (Cl, In and Sc were never seen)
    nothing = table(tmp_path, "LLZO", name="nothing.csv")
    assert cli.main(["predict", str(nothing), "--run", str(run), "--out", str(out)]) == 1
    assert cli.main(["predict", str(source), "--run", str(tmp_path), "--out", str(out)]) == 1
    assert "run notebook 04" in capsys.readouterr().err
    with pytest.raises(SystemExit) as end:
        cli.main(["predict", str(source)])
    assert end.value.code == 2
    with pytest.raises(SystemExit):
        cli.main(["predict", "x", "--run", "x", "--out", "x", "--max-cif-mb", "nan"])
    assert "--max-cif-mb: nan is not above 0" in capsys.readouterr().err
