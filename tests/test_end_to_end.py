"""The main job on the real public data: run, metrics recomputed from the predictions, report, resume."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr
from sklearn.metrics import mean_absolute_error, r2_score

from sselib.cli import main

pytestmark = [pytest.mark.mirror, pytest.mark.slow]
RANDOM, GROUPED = {"random_stratified", "kfold5"}, {"group_doi", "group_chemsys", "group_family", "loco"}
CONTROLS = {"mean", "1nn", "shuffled"}
TOLERANCE = 1e-6
MAX_PAGE_BYTES = 15e6
# 02 reads no public data, and 05 costs minutes on them; both run on the embedded set under nbval.
NOTEBOOKS = ["01", "03", "04", "06", "07"]
PAGES = ["01_curation", "03_features", "04_gbr_shap", "06_atomsets_loco", "07_screening", "index"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The notebooks with the smoke profile's settings, on OBELiX, LiIon and the reference set."""
    if not os.environ.get("SSE_DATA_MIRROR"):
        pytest.skip("the real public data are needed: set SSE_DATA_MIRROR")
    root = tmp_path_factory.mktemp("end_to_end") / "run"
    assert _sse(root).returncode == 0
    return root


def _sse(root: Path, *more: str) -> subprocess.CompletedProcess:
    sources = "01.sources=[obelix, liion, reference]"
    command = [
        sys.executable,
        "-m",
        "sselib",
        "run",
        *NOTEBOOKS,
        "--profile",
        "smoke",
        "--out",
        str(root),
        "--no-png",
    ]
    return subprocess.run([*command, "-p", sources, *more], capture_output=True, text=True, timeout=900)


@pytest.fixture(scope="module")
def records(run: Path) -> list[dict]:
    return json.loads((run / "04_gbr_shap/metrics.json").read_text())


@pytest.fixture(scope="module")
def predictions(run: Path) -> pd.DataFrame:
    return pd.read_parquet(run / "04_gbr_shap/predictions.parquet")


def test_every_input_row_is_accounted_for(run: Path) -> None:
    audit = pd.read_parquet(run / "01_curation/audit.parquet")
    assert audit.groupby("source").size().to_dict() == {"obelix": 599, "liion": 820, "reference": 130}
    kept = (audit["action"] == "kept").sum()
    assert kept == len(pd.read_parquet(run / "01_curation/curated.parquet"))
    assert kept == len(pd.read_parquet(run / "03_features/features.parquet"))


def test_the_official_split_is_whole(run: Path, predictions: pd.DataFrame) -> None:
    curated = pd.read_parquet(run / "01_curation/curated.parquet")
    assert curated["official_split"].value_counts().to_dict() == {"train": 478, "test": 121}
    official = predictions[predictions["protocol"] == "obelix_official"]
    test = set(curated.loc[curated["official_split"] == "test", "id"])
    for _, block in official.groupby(["dataset", "model", "features"]):
        assert set(block["id"]) == test and block["censored"].sum() == 8


def _recomputed(metric: str, rows: pd.DataFrame) -> float:
    kind, treatment = metric.split("_")
    if treatment == "uncensored":
        rows = rows[~rows["censored"]]
    y = rows["y_true"].where(~rows["censored"], -15.0) if treatment == "floor" else rows["y_true"]
    if kind == "srcc":
        constant = np.ptp(rows["y_pred"]) < 1e-12
        return 0.0 if constant else spearmanr(y, rows["y_pred"]).statistic
    return {"mae": mean_absolute_error, "r2": r2_score}[kind](y, rows["y_pred"])


@pytest.mark.parametrize("metric", ["mae_floor", "mae_bound", "mae_uncensored", "r2_bound", "srcc_bound"])
def test_metrics_equal_those_recomputed_from_the_predictions(
    metric: str, records: list[dict], predictions: pd.DataFrame
) -> None:
    keys = ["dataset", "model", "features", "protocol"]
    stored = {tuple(r[k] for k in keys): r["value"] for r in records if r["metric"] == metric}
    blocks = dict(list(predictions.groupby(keys)))
    assert stored.keys() == blocks.keys()
    for key, block in blocks.items():
        per_repeat = [_recomputed(metric, rows) for _, rows in block.groupby("repeat")]
        assert stored[key] == pytest.approx(np.mean(per_repeat), abs=TOLERANCE), key


def test_every_score_has_its_interval_its_controls_and_its_grouped_twin(records: list[dict]) -> None:
    scores = pd.DataFrame(records).query("metric == 'mae_bound'")
    assert scores["n"].gt(0).all() and (scores["ci_low"] <= scores["value"]).all()
    assert (scores["value"] <= scores["ci_high"]).all()
    for _, block in scores.groupby(["dataset", "protocol"]):
        assert set(block["model"]) >= CONTROLS
    for (_, model, features), block in scores.groupby(["dataset", "model", "features"]):
        found = set(block["protocol"])
        assert not found & RANDOM or found & GROUPED, f"{model}, {features} has no grouped twin"


def test_the_model_beats_shuffled_labels_where_it_should_and_stays_above_the_noise(
    records: list[dict],
) -> None:
    mae = {(r["model"], r["protocol"]): r["value"] for r in records if r["metric"] == "mae_bound"}
    for protocol in ("random_stratified", "group_chemsys", "obelix_official"):
        assert mae["xgb_kim", protocol] < mae["shuffled", protocol] - 0.5
        assert mae["xgb_kim", protocol] > 0.39  # below the label noise something has leaked


def test_report_is_small_and_needs_no_network(run: Path) -> None:
    assert main(["report", str(run)]) == 0
    pages = sorted((run / "report").glob("*.html"))
    of_candidates = [p.stem for p in pages if p.stem.startswith("07_candidate_")]
    assert [p.stem for p in pages if p.stem not in of_candidates] == PAGES
    assert of_candidates, "the best candidates have a page of their own"
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert len(text) < MAX_PAGE_BYTES
        assert not re.search(r"<(?:script|link|img|iframe)[^>]+(?:src|href)=[\"']https?:", text), page.name
        assert "banner embedded" not in text and "Real data" in text


def test_resume_keeps_what_is_done(run: Path) -> None:
    again = _sse(run, "--resume")
    assert again.returncode == 0
    assert "starts" not in again.stdout, again.stdout
