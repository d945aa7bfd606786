"""A machine that reaches nothing (no mirror, an empty cache, a proxy that leads nowhere) and lacks the usual
programs (git, a browser, a compiler). Everything runs."""

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
import pytest

from sselib.running.notebooks import select_notebooks

pytestmark = pytest.mark.slow
NAMES = [n.name for n in select_notebooks([])]
# The profile that `make report` runs, with less of the same: every branch is taken, on fewer cases.
SHORTER = (
    "01.sources=[obelix, liion, reference, recent]",
    "02.compositions={Li3OCl: 1}",
    "02.references={Li3OCl: li3ocl}",
    "02.n_seeds=1",
    "02.max_evaluations=25",
    "04.protocols=[obelix_official, random_stratified, group_chemsys]",
    "04.repeats=1",
    "04.n_bootstrap=100",
    "05.repeats=1",
    "05.causal_cases=[case1_formula, case4_both]",
    "05.pretrain_epochs=1",
    "06.models=[gradient boosting on composition, AtomSets on MEGNet V1, "
    "Gaussian process on formula and structure]",
    "06.protocols=[kfold5, group_family]",
    "06.n_bootstrap=100",
    "07.n_structures=5",
    "07.doping_fractions=[0.1]",
)


@dataclass(frozen=True)
class Offline:
    """A run made without any file from outside, what `sse run` printed, and its environment."""

    root: Path
    said: str
    environment: dict[str, str]

    def sse(self, *arguments: str) -> str:
        """Return what a command prints; it must succeed."""
        command = [sys.executable, "-m", "sselib", *arguments]
        done = subprocess.run(
            command, env=self.environment, capture_output=True, text=True, timeout=3600, check=False
        )
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        return done.stdout


@pytest.fixture(scope="module")
def offline(tmp_path_factory: pytest.TempPathFactory) -> Offline:
    """All notebooks and the report, as `make report` makes them."""
    folder = tmp_path_factory.mktemp("offline")
    dropped = ("SSE_DATA_MIRROR", "SSE_OFFLINE", "SSE_HOME", "BROWSER_PATH")
    known = {k: v for k, v in os.environ.items() if k not in dropped}
    known["PATH"] = str(Path(sys.executable).parent)  # neither git nor a browser nor a compiler
    nowhere = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
    (folder / "cache").mkdir()
    made = Offline(folder / "run", "", known | nowhere | {"SSE_CACHE": str(folder / "cache")})
    options = [a for p in SHORTER for a in ("-p", p)]
    said = made.sse("run", "--profile", "quick", "--out", str(made.root), *options)
    made.sse("report", str(made.root))
    return replace(made, said=said)


def test_no_notebook_is_left_out_and_the_lack_is_said_once(offline: Offline) -> None:
    record = json.loads((offline.root / "run.json").read_text())["notebooks"]
    assert {name: entry["status"] for name, entry in record.items()} == dict.fromkeys(NAMES, "done")
    assert offline.said.count("cannot be reached from here") == 1 and "SSE_DATA_MIRROR" in offline.said


def test_a_browser_that_is_not_there_costs_pictures_only(offline: Offline) -> None:
    assert "no PNG of the figures" in offline.said
    assert json.loads((offline.root / "run.json").read_text())["git"]["commit"] is None


def test_every_page_says_what_it_stands_on(offline: Offline) -> None:
    pages = {p.stem: p.read_text(encoding="utf-8") for p in (offline.root / "report").glob("*.html")}
    assert {*NAMES, "index"} <= pages.keys()
    for name, page in pages.items():
        assert "banner embedded" in page and "Embedded mode, without OBELiX" in page, name
        assert "Not to be had here: obelix, liion" in page, name
    assert "not judged" in pages["07_screening"] or "not_judged" in pages["07_screening"]


def test_scores_and_the_registry_work_on_that_run(offline: Offline, tmp_path: Path) -> None:
    listed = offline.sse("data", "list")
    assert re.search(r"formation_energy\.hdf5 +820992 +package", listed) and "not at hand" in listed
    table = tmp_path / "candidates.csv"
    table.write_text("formula\nLi6PS5Cl\nLi3YCl6\n")
    offline.sse("predict", str(table), "--run", str(offline.root), "--out", str(tmp_path / "p.csv"))
    found = pd.read_csv(tmp_path / "p.csv")
    assert found["log10_sigma"].between(-20, 1).all() and found["p_superionic"].between(0, 1).all()
