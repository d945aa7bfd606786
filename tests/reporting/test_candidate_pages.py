"""Pages of candidates: records hold what is known and nothing else, the report links a page to each."""

import base64
import json
import re
from pathlib import Path

import nbformat
import pandas as pd
import pytest
from nbformat import v4
from pymatgen.core import Lattice, Structure
from scratch_project import code, notebook

from sselib.materials.structures import structure_to_json
from sselib.reporting import report
from sselib.reporting.candidate_pages import NOTEBOOK, candidate_pages, page_records
from sselib.reporting.ranked_table import page_name, ranked_html, to_page
from sselib.runfolder import RunFolder
from sselib.screening.explanation import Explanation
from sselib.screening.filters import FilterSettings, apply_filters, filter_details

EVIL = "</script><script>alert(1)</script>"
ROWS = pd.DataFrame(
    {
        "rank": [1, 2],
        "id": ["doped:a", "table:b"],
        "formula": ["Li2S", "LiCl"],
        "source": ["doping", "table"],
        "parent": ["obelix:x", ""],
        "change": ["10% P→Si", ""],
        "problem": "",
        "log10_sigma": [-3.25, -5.0],
        "lower": [-4.5, -7.0],
        "upper": [-2.0, -3.0],
        "p_superionic": [0.9, 0.4],
        "p_superionic_sd": [0.05, 0.1],
        "band_gap_ev": [2.5, float("nan")],
        "imbalance_per_atom": [4e-8, 0.0],
        "is_known": [False, True],
        "is_intermetallic": False,
        "open_d_shell_ions": "",
        "lithium_filling": [0.9, float("nan")],
        "radioactive_elements": "",
        "toxic_elements": ["", "As"],
        "relaxation": ["not relaxed", None],
    }
)
LIMITS = FilterSettings(excluded_elements=["Fe", "Co"])


def explanation(formula: str) -> Explanation:
    contributions = pd.DataFrame(
        {"feature": ["mole_fraction_Li", "other"], "value": [0.5, None], "shap": [1.0, -0.5]}
    )
    nearest = pd.DataFrame(
        {"id": ["t"], "formula": ["Li2Se"], "log10_sigma": [-6.0], "censored": [True], "distance": [0.7]}
    )
    outside = pd.DataFrame({"feature": ["mole_fraction_S"], "value": [0.9], "low": [0.0], "high": [0.5]})
    return Explanation(formula, -4.0, contributions, nearest, outside, f"A sentence {EVIL}.")


@pytest.fixture
def records() -> list[dict]:
    return page_records(apply_filters(ROWS, LIMITS), [explanation("Li2S"), explanation("LiCl")], LIMITS)


def test_a_record_holds_what_is_known_and_leaves_out_what_is_not(records: list[dict]) -> None:
    first, second = records
    shown = [(row["label"].split("(")[0], row["value"], row["interval"]) for row in first["scores"]]
    assert shown[:2] == [("log10", "-3.25", "-4.50 to -2.00"), ("P", "0.900", "± 0.050")]
    assert ("band gap ", "2.50", "") in shown
    assert not any(row["label"].startswith("band gap") for row in second["scores"])
    assert first["origin"] == "doping, 10% P→Si, from obelix:x" and second["origin"] == "table"
    assert first["nearest"] == [{"formula": "Li2Se", "id": "t", "measured": "≤ -6.00", "distance": "0.700"}]
    assert first["outside"][0]["feature"] == "S content"
    assert first["notes"] == ["geometry: not relaxed"] and second["notes"] == []
    assert json.loads(json.dumps(records)) == records


def test_every_filter_that_is_on_gives_its_verdict() -> None:
    table = apply_filters(ROWS, LIMITS)
    first, second = (filter_details(row, LIMITS).set_index("filter") for row in table.to_dict("records"))
    assert set(first["verdict"]) == {"passes"} and "toxic" not in first.index  # it is switched off
    assert first.loc["band gap", ["value", "limit"]].tolist() == ["2.5", "at least 1 eV"]
    assert first.loc["charge not balanced", "value"] == "0"
    assert first.loc["unwanted element", "limit"] == "none of Fe Co"
    assert second.loc["known", "verdict"] == "drops" and second.loc["known", "value"] == "yes"
    assert second.loc["band gap", "verdict"] == "not judged"


def test_rows_and_explanations_must_match() -> None:
    with pytest.raises(ValueError, match="shorter"):
        page_records(apply_filters(ROWS, LIMITS), [explanation("Li2S")], LIMITS)


@pytest.fixture
def run(tmp_path: Path, records: list[dict]) -> Path:
    """A run whose notebook 07 left two candidates, one of them with a structure, and links to three."""
    folder = RunFolder(tmp_path, NOTEBOOK)
    folder.write_json("candidates", records)
    crystal = Structure(Lattice.cubic(4), [{"Li": 0.5}, "S"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    row = {"structure_id": "doped:a", "structure_json": structure_to_json(crystal)}
    folder.write_table("structures", pd.DataFrame([row | dict.fromkeys(["source", "sha256", "origin"], "")]))
    html = ranked_html(ROWS, n_pages=2).data + to_page(page_name(3), "no page")
    cell = code("list")
    cell.outputs, cell.execution_count = [v4.new_output("display_data", {"text/html": html})], 1
    nbformat.write(notebook(NOTEBOOK, cell), tmp_path / NOTEBOOK / "notebook.ipynb")
    (tmp_path / "run.json").write_text(json.dumps({"notebooks": {NOTEBOOK: {"status": "done"}}}))
    return tmp_path


def test_the_report_has_a_small_page_per_candidate_and_links_it(run: Path) -> None:
    pages = {p.stem: p for p in report.render(run)}
    assert [name for name in pages if "candidate" in name] == [page_name(1), page_name(2)]
    ranked = pages[NOTEBOOK].read_text(encoding="utf-8")
    assert f'<a href="{page_name(1)}.html">Li2S</a>' in ranked and "to-page" not in ranked
    assert page_name(3) not in ranked and "no page" in ranked
    first, second = (pages[page_name(k)].read_text(encoding="utf-8") for k in (1, 2))
    assert 'src="plotly.min.js"' in first and (run / "report" / "plotly.min.js").stat().st_size > 1e6
    assert len(first.encode()) < 400_000 and EVIL not in first
    assert first.count('class="figure-data"') == 2 and second.count('class="figure-data"') == 1
    assert "no structure was built" in second and f'href="{page_name(1)}.html"' in second
    cif = base64.b64decode(re.search(r'base64,([\w+/=]+)" download="001.cif"', first)[1]).decode()
    assert Structure.from_str(cif, fmt="cif").composition.get_el_amt_dict() == {"Li": 0.5, "S": 1}


def test_pages_of_an_earlier_ranking_do_not_stay(run: Path, records: list[dict]) -> None:
    report.render(run)
    RunFolder(run, NOTEBOOK).write_json("candidates", records[:1])
    report.render(run)
    assert [p.stem for p in sorted((run / "report").glob("07_candidate*.html"))] == [page_name(1)]


def test_a_run_without_records_has_no_pages(tmp_path: Path) -> None:
    assert list(candidate_pages(tmp_path)) == []
