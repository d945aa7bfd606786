"""The README's numbers come from a run, or the command fails."""

from pathlib import Path

import pytest
from readme import update_readme

from sselib.errors import RunError
from sselib.runfolder import to_json

README = """# Title
| notebook | time |
|---|---|
| [04_gbr_shap](notebooks/04_gbr_shap.ipynb) | old |
| [05_other](notebooks/05_other.ipynb) | kept |

<!-- results:begin (a remark) -->
old numbers
<!-- results:end -->
end
"""


def _record(model: str, metric: str, value: float, protocol: str) -> dict[str, object]:
    names = {"dataset": "obelix", "model": model, "features": "all", "protocol": protocol, "metric": metric}
    return {
        **names,
        "value": value,
        "ci_low": value - 0.1,
        "ci_high": value + 0.1,
        "n": 121,
        "unit": "",
        "seed": 0,
    }


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "run" / "04_gbr_shap"
    (folder / "figures").mkdir(parents=True)
    (folder / "figures" / "spread.png").write_bytes(b"a picture")
    notebooks = {"04_gbr_shap": {"status": "done", "duration_s": 12.4}}
    (tmp_path / "run" / "run.json").write_text(
        to_json({"profile": "quick", "started": "2026-11-20T10:00", "notebooks": notebooks})
    )
    scores = [
        _record("trees", "mae_bound", 0.8, "random_stratified"),
        _record("trees", "mae_bound", 1.9, "loco"),
    ]
    controls = [_record("mean", "mae_bound", 2.1, "random_stratified")]
    (folder / "metrics.json").write_text(to_json(scores + controls))
    (tmp_path / "README.md").write_text(README)
    return tmp_path / "run"


def _update(run: Path) -> str:
    readme = run.parent / "README.md"
    update_readme(run, readme, figure="04_gbr_shap/spread", image=run.parent / "docs" / "spread.png")
    return readme.read_text()


def test_numbers_times_and_figure_are_those_of_the_run(run: Path) -> None:
    text = _update(run)
    assert "`trees` on `all`, data `obelix` (04_gbr_shap):" in text
    assert "| `random_stratified` | 121 | 0.80 [0.70, 0.90] | - | - | - | - | 2.10 | - | - |" in text
    assert text.count("gradient boosting, all features | `random_stratified` | MAE 0.543, R2 0.84,") == 1
    assert "Run `quick` of 2026-11-20" in text and "old numbers" not in text
    assert "04_gbr_shap.ipynb) | 12 s |" in text and "| kept |" in text
    assert (run.parent / "docs" / "spread.png").read_bytes() == b"a picture"


def test_writing_twice_changes_nothing(run: Path) -> None:
    assert _update(run) == _update(run)


@pytest.mark.parametrize("missing", ["run.json", "04_gbr_shap/figures/spread.png"])
def test_what_the_run_lacks_is_named(run: Path, missing: str) -> None:
    (run / missing).unlink()
    with pytest.raises(RunError, match=Path(missing).name):
        _update(run)


def test_a_run_without_scores_is_refused(run: Path) -> None:
    (run / "04_gbr_shap" / "metrics.json").write_text("[]")
    with pytest.raises(RunError, match="holds no scores"):
        _update(run)
