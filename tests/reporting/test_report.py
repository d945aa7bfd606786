"""The report: readable offline whatever happened in the run, and a headline that follows its rule."""

import json
import re
import subprocess
from pathlib import Path

import nbformat
import pandas as pd
import plotly.graph_objects as go
import pytest
from nbformat import v4
from scratch_project import code, markdown, notebook

from sselib.errors import RunError, SchemaError
from sselib.reporting import report
from sselib.reporting.headline import headlines, published_numbers, read_metrics
from sselib.runfolder import to_json
from sselib.running.pngs import export_pngs, find_browser

EVIL = "</script><script>alert(1)</script><b>x</b>"


def _record(
    model: str, protocol: str, value: float, *, metric: str = "mae_bound", features: str = "all"
) -> dict:
    return {
        "dataset": "obelix",
        "model": model,
        "features": features,
        "protocol": protocol,
        "metric": metric,
        "value": value,
        "ci_low": value - 0.1,
        "ci_high": value + 0.1,
        "n": 121,
        "unit": "log10(S/cm)",
        "seed": 0,
    }


METRICS = [
    _record("xgboost", "random_stratified", 0.80),
    _record("trees", "random_stratified", 0.90),
    _record("trees", "random_stratified", 0.10, metric="mae_uncensored"),
    _record("xgboost", "random_stratified", 0.70, metric="mae_uncensored"),
    _record("xgboost", "group_family", 1.90),
    _record("trees", "group_family", 1.80),
    _record("mean", "random_stratified", 2.10),
    _record("1nn", "random_stratified", 0.40),
    _record("shuffled", "random_stratified", 2.20, features="none"),
    _record("shuffled", "random_stratified", 2.30),
]


def _executed(
    cell: nbformat.NotebookNode, *outputs: nbformat.NotebookNode, count: int = 1
) -> nbformat.NotebookNode:
    cell.outputs, cell.execution_count = list(outputs), count
    return cell


def _figure(title: str) -> nbformat.NotebookNode:
    figure = go.Figure(go.Scatter(x=[1, 2], y=[3, 4]), layout={"title": title, "width": 3000})
    return v4.new_output("display_data", {"application/vnd.plotly.v1+json": json.loads(figure.to_json())})


def _good() -> nbformat.NotebookNode:
    table = pd.DataFrame({f"a_long_column_name_{i}": [EVIL, "b"] for i in range(20)}).to_html()
    return notebook(
        "01_curation",
        markdown(f"Prose {EVIL} <img src='https://x.org/a.png'>"),
        _executed(
            code("the_answer = notebook.answer()"),
            v4.new_output("display_data", {"text/markdown": "- It *conducts*.\n- More."}),
        ),
        _executed(code("figure"), _figure(EVIL), _figure("second")),
        _executed(code("table"), v4.new_output("execute_result", {"text/html": table})),
        _executed(code("print"), v4.new_output("stream", name="stdout", text=EVIL)),
        _executed(code("md"), v4.new_output("display_data", {"text/markdown": f"**bold** {EVIL}"})),
    )


def _failed() -> nbformat.NotebookNode:
    error = v4.new_output(
        "error", ename="ValueError", evalue=EVIL, traceback=[f"\x1b[31mValueError\x1b[0m: {EVIL}"]
    )
    return notebook("03_features", _executed(code("boom()"), error), code("never()"))


@pytest.fixture
def run_folder(tmp_path) -> Path:
    """A run with one good and one failed notebook, on the embedded set."""
    failure = {"cell": 12, "section": "Checks", "error": "ValueError", "message": EVIL, "remedy": "Mend it."}
    entries = {
        "01_curation": {
            "status": "done",
            "title": "Curation",
            "profile": "quick",
            "seed": 4,
            "duration_s": 3.2,
            "parameters": {"cutoff": 5.0},
            "inputs": {},
            "outputs": {"01_curation/x.csv": "ab" * 32},
        },
        "03_features": {
            "status": "failed",
            "failure": failure,
            "profile": "quick",
            "duration_s": 1.0,
            "inputs": {"01_curation/x.csv": "ab" * 32},
        },
        "04_gbr_shap": {"status": "skipped", "title": "GBR"},
    }
    for name, node in (("01_curation", _good()), ("03_features", _failed())):
        (tmp_path / name).mkdir()
        nbformat.write(node, tmp_path / name / "notebook.ipynb")
    content = {
        "notebooks": entries,
        "versions": {"numpy": "2.0"},
        "git": {"commit": "c0ffee" * 7, "dirty": True},
        "machine": {"cpu_count": 2},
    }
    (tmp_path / "run.json").write_text(json.dumps(content))
    mode = {"mode": "embedded", "message": "Embedded reference set, n = 57", "sources": []}
    (tmp_path / "01_curation/data_mode.json").write_text(json.dumps(mode))
    (tmp_path / "01_curation/metrics.json").write_text(to_json(METRICS))
    (tmp_path / "03_features/metrics.json").write_text(to_json([_record("lucky", "group_family", 0.0)]))
    return tmp_path


def _pages(run_folder: Path) -> dict[str, str]:
    return {p.stem: p.read_text(encoding="utf-8") for p in report.render(run_folder)}


def _without_plotly(page: str) -> str:
    return re.sub(r"<script>.*?plotly\.js v.*?</script>", "", page, count=1, flags=re.DOTALL)


def test_pages_are_self_contained_and_small(run_folder):
    pages = _pages(run_folder)
    assert list(pages) == ["index", "01_curation", "03_features", "04_gbr_shap"]
    for page in pages.values():
        assert len(page.encode()) < report.MAX_PAGE_BYTES
        assert not re.search(r"(src|href)\s*=\s*['\"]?\s*https?:|@import|<link", _without_plotly(page))
    assert pages["01_curation"].count("plotly.js v") == 1 and "plotly.js v" not in pages["03_features"]
    assert len(re.findall(r'class="figure-data"', pages["01_curation"])) == 2


def test_nothing_from_outputs_is_executed(run_folder):
    for page in _pages(run_folder).values():
        assert "<script>alert" not in page and "<b>x</b></title>" not in page
    assert "bad" not in report._clean(
        "<p onclick='bad()'>x</p><style>bad</style><a href='javascript:bad()'>y</a>"
    )


def test_a_cell_without_a_value_is_a_dash():
    frame = pd.DataFrame({"x": [1.0, float("nan")], "name": [None, "NaN-free"]}, dtype=object)
    shown = report._dashed(frame.to_html())
    assert shown.count("<td>–</td>") == 2 and "NaN-free" in shown


def test_every_page_says_that_the_data_are_embedded(run_folder):
    for page in _pages(run_folder).values():
        assert '<div class="banner embedded">Embedded reference set, n = 57<' in page
    mode = {
        "mode": "real",
        "message": "",
        "sources": [
            {"name": "obelix", "rows": 599, "origin": "mirror", "file": "all.csv", "sha256": "54f6265ef84d16"}
        ],
    }
    (run_folder / "01_curation/data_mode.json").write_text(json.dumps(mode))
    for page in _pages(run_folder).values():
        assert "obelix (599 rows)" in page and "banner embedded" not in page
        assert "all.csv (mirror), sha256" in page and "54f6265ef84d16" in page


def test_provenance_is_on_the_page(run_folder):
    page = _pages(run_folder)["01_curation"]
    for text in (
        "profile quick",
        "seed 4",
        "3 s",
        "c0ffee",
        "with uncommitted changes",
        "cutoff",
        "5.0",
        "numpy",
        "ab" * 32,
    ):
        assert text in page


def test_a_failed_notebook_shows_its_cell_and_what_to_do(run_folder):
    pages = _pages(run_folder)
    page = pages["03_features"]
    assert 'class="code failed" id="failed"' in page and "failed in cell 12, section Checks" in page
    assert "Mend it." in page and "sse run 03 --out RUN --resume" in page and "code (not executed)" in page
    assert "03_features" in pages["index"].split("This run is not complete", 1)[1]
    assert "an earlier one failed" in pages["04_gbr_shap"]
    assert "lucky" not in pages["index"]  # metrics of a notebook that did not finish do not count


def test_an_interrupted_run_is_shown_as_far_as_it_came(run_folder):
    content = json.loads((run_folder / "run.json").read_text())
    content["notebooks"]["03_features"] = {"status": "running"}
    (run_folder / "run.json").write_text(json.dumps(content))
    (run_folder / "03_features/notebook.ipynb").rename(run_folder / "03_features/.notebook.running.ipynb")
    assert "was interrupted before its end" in _pages(run_folder)["03_features"]
    (run_folder / "03_features/.notebook.running.ipynb").write_text('{"cells": [')
    assert "Nothing of this notebook was executed" in _pages(run_folder)["03_features"]


def test_figures_beyond_the_budget_are_named_not_embedded(run_folder, monkeypatch):
    monkeypatch.setattr(report, "_BUDGET_BYTES", 100)
    page = _pages(run_folder)["01_curation"]
    assert page.count("does not fit into this page") == 2 and "plotly.js v" not in page


def test_folders_that_are_no_run_are_named(tmp_path):
    with pytest.raises(RunError, match="holds no executed notebook"):
        report.render(tmp_path)
    with pytest.raises(RunError, match="there is no run folder"):
        report.render(tmp_path / "none")


def test_headline_follows_the_rule_and_shows_controls_and_twin(run_folder):
    rows = headlines(read_metrics(run_folder, ["01_curation"]))
    # chosen where groups are held out, although another model is better on the random split
    assert [(r.protocol, r.model) for r in rows] == [
        ("random_stratified", "trees"),
        ("group_family", "trees"),
    ]
    first = rows[0]
    assert first.scores["mae_bound"]["value"] == 0.90
    assert {n: c["value"] for n, c in first.controls.items()} == {"mean": 2.10, "1nn": 0.40, "shuffled": 2.30}
    assert first.twins == {"group_family": 1.80} and first.is_random
    assert any(p["value"] == 0.543 for p in first.published)
    index = _pages(run_folder)["index"]
    assert "group_family 1.80" in index and "0.80 to 1.00" in index and "MAE 0.543" in index


def test_where_the_chosen_model_did_not_take_part_the_best_of_the_block_has_a_star(run_folder):
    records = [r for r in METRICS if (r["model"], r["protocol"]) != ("trees", "random_stratified")]
    (run_folder / "01_curation/metrics.json").write_text(to_json(records))
    rows = headlines(read_metrics(run_folder, ["01_curation"]))
    assert [(r.protocol, r.model) for r in rows] == [
        ("random_stratified", "xgboost*"),
        ("group_family", "trees"),
    ]


def test_classification_has_a_table_of_its_own(run_folder):
    scores = [_record("net", "loco", 0.7, metric="auc_pr"), _record("net", "loco", 0.3, metric="mcc")]
    (run_folder / "01_curation/metrics.json").write_text(to_json(scores))
    (row,) = headlines(read_metrics(run_folder, ["01_curation"]))
    assert (row.metric, row.scores["mcc"]["value"]) == ("auc_pr", 0.3)
    assert {p["metric"] for p in row.published} == {"AUC-PR", "MCC"}  # and no error of a regression
    index = _pages(run_folder)["index"]
    assert "Superionic or not" in index and "Conductivity: errors" not in index


def test_a_random_split_without_twin_is_marked(run_folder):
    (run_folder / "01_curation/metrics.json").write_text(to_json(METRICS[:2]))
    assert "No grouped twin in this run" in _pages(run_folder)["index"]


def test_odd_metrics_files_are_named(run_folder):
    (run_folder / "01_curation/metrics.json").write_text('{"a": 1}')
    with pytest.raises(SchemaError, match=r"01_curation/metrics\.json holds no list"):
        _pages(run_folder)
    (run_folder / "01_curation/metrics.json").write_text('[{"a": 1}]')
    with pytest.raises(SchemaError, match="lacks metric, value"):
        _pages(run_folder)


def test_published_numbers_are_complete():
    for entry in published_numbers():
        assert set(entry) == {"who", "protocol", "metric", "value", "basis", "comparable", "source"}
        assert entry["basis"] in ("published", "rerun")


def _browser() -> str:
    browser = find_browser()
    if browser is None:
        pytest.skip("needs a Chrome or Chromium")
    return browser


def test_figures_draw_in_a_browser_without_network(run_folder, tmp_path):
    browser = _browser()
    report.render(run_folder)
    page = run_folder / "report/01_curation.html"
    command = [
        browser,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--no-first-run",
        "--disable-background-networking",
        "--host-resolver-rules=MAP * ~NOTFOUND",
        f"--user-data-dir={tmp_path / 'profile'}",
        "--window-size=1100,3000",
        "--virtual-time-budget=5000",
        "--dump-dom",
        page.as_uri(),
    ]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False).stdout
    body = shown[shown.rindex("<main>") :]
    assert (
        body.count('class="main-svg"') >= 2 and "sendChartToCloud" not in body and "Share chart" not in body
    )
    widths = [int(w) for w in re.findall(r'class="main-svg"[^>]*? width="(\d+)"', body)]
    assert widths and max(widths) <= 1060  # the figure's own width of 3000 does not break the page


def test_pngs_are_drawn_in_one_batch(tmp_path):
    _browser()
    for name in ("a", "b"):
        (tmp_path / f"{name}.json").write_text(go.Figure(go.Scatter(x=[1], y=[1])).to_json())
    assert export_pngs(tmp_path) == ""
    assert [(tmp_path / f"{n}.png").read_bytes()[:4] for n in "ab"] == [b"\x89PNG"] * 2


def test_missing_or_hanging_browser_costs_one_line(tmp_path, monkeypatch):
    (tmp_path / "a.json").write_text(go.Figure().to_json())
    monkeypatch.setenv("BROWSER_PATH", str(tmp_path / "none"))
    assert "neither BROWSER_PATH" in export_pngs(tmp_path)
    hanging = tmp_path / "chrome"
    hanging.write_text("#!/bin/sh\nsleep 60\n")
    hanging.chmod(0o755)
    monkeypatch.setenv("BROWSER_PATH", str(hanging))
    assert "took longer than 3 s" in export_pngs(tmp_path, timeout_s=3)
    assert export_pngs(tmp_path / "empty") == ""


@pytest.mark.parametrize(
    "source",
    [
        "https://x.org/a.png",
        "HTTPS://x.org/a.png",
        "//x.org/a.png",
        "\\\\x.org\\a.png",
        " https://x.org/a.png",
        "ht\ttps://x.org/a.png",
        "https&#58;//x.org/a.png",
        "data:text/html;base64,AAAA",
    ],
)
def test_a_picture_from_outside_is_never_loaded(source: str) -> None:
    assert "src" not in report._clean(f'<p>text <img alt="a>b" src="{source}"></p>')


def test_a_picture_that_is_part_of_the_page_is_shown() -> None:
    assert 'src="data:image/png;base64,AAAA"' in report._clean('<img src="data:image/png;base64,AAAA">')


@pytest.mark.parametrize("name", ["../../evil", "javascript:alert(1)//", "/tmp/evil"])
def test_a_record_with_planted_names_writes_no_page(run_folder: Path, name: str) -> None:
    record = json.loads((run_folder / "run.json").read_text())
    record["notebooks"][name] = {"status": "done"}
    (run_folder / "run.json").write_text(json.dumps(record))
    with pytest.raises(RunError, match=r"was not written by sse run"):
        report.render(run_folder)
    assert not (run_folder / "report").exists()


@pytest.mark.parametrize("file", ["run.json", "01_curation/data_mode.json", "01_curation/metrics.json"])
def test_a_damaged_file_is_named(run_folder: Path, file: str) -> None:
    (run_folder / file).write_text("{bad")
    with pytest.raises(RunError, match=f"{Path(file).name} is not valid JSON"):
        report.render(run_folder)


def test_the_index_shows_the_first_line_of_an_answer(run_folder: Path) -> None:
    report.render(run_folder)
    index = (run_folder / "report" / "index.html").read_text()
    assert '<p class="answer">It conducts.</p>' in index and index.count('class="answer"') == 1
