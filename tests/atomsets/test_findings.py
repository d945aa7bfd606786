"""Sentences of the answer follow the numbers."""

import pandas as pd
import pytest

from sselib.atomsets.findings import atomsets_sentence, choice_sentence, suite_sentence


def records(**lows: float) -> pd.DataFrame:
    """AUC-PR of AtomSets on unseen clusters, and the lower ends of its paired differences."""
    rows = [("AtomSets", "auc_pr", 0.64, 0.44, 0.83)]
    rows += [("AtomSets", f"delta_auc_pr_vs_{name}", 0.2, low, 0.4) for name, low in lows.items()]
    table = pd.DataFrame(rows, columns=["model", "metric", "value", "ci_low", "ci_high"])
    return table.assign(name="AtomSets on V1", protocol="loco")


@pytest.mark.parametrize(
    ("lows", "said"),
    [
        ({"mean": 0.1, "nn": 0.1}, "above every baseline"),
        ({"mean": 0.1, "baseline": -0.1}, "not certain to be above gradient boosting on composition"),
    ],
)
def test_a_baseline_counts_as_beaten_if_the_interval_leaves_out_zero(lows: dict, said: str) -> None:
    found = atomsets_sentence(records(**lows), protocol="loco")
    assert said in found and "0.64 [0.44, 0.83] on unseen clusters" in found


def test_what_did_not_run_is_said() -> None:
    nothing = records().iloc[:0]
    assert "did not take part" in atomsets_sentence(nothing, protocol="loco")
    assert "did not take part" in suite_sentence(nothing, protocols=["loco"])
    table = pd.DataFrame({"mean over held-out clusters": ["random, best of 250"], "AUC-PR": [0.8]})
    assert "was not measured" in choice_sentence(table)


def test_the_choice_is_told_with_its_twin_and_chance() -> None:
    names = ["AtomSets, chosen on the cluster", "AtomSets, chosen on the other clusters", "random, best of 9"]
    table = pd.DataFrame({"mean over held-out clusters": names, "AUC-PR": [0.94, 0.6, 0.88]})
    found = choice_sentence(table)
    assert found.index("0.94") < found.index("0.60") < found.index("0.88")
