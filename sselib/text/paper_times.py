"""How long a run of notebook 05 took, or has taken so far, from its checkpoints.

``python -m sselib.text.paper_times RUN [PROFILE]`` prints a table in Markdown: per model and prompt case the
fits that are done of those the profile plans, their processor seconds, and mean absolute errors under the
random split and under that by chemical system where all of their splits are there. An interrupted run is
continued with ``sse run 05 --profile PROFILE --out RUN --resume``.
"""

import sys
from collections.abc import Mapping
from pathlib import Path

import pandas as pd
import yaml

from sselib.columns import CONTROL_PREFIX
from sselib.columns import Prediction as P
from sselib.errors import DataError
from sselib.paths import project_root
from sselib.regression import evaluation
from sselib.runfolder import RunFolder
from sselib.text.causal import MINIATURE
from sselib.text.encoder import PACKAGED
from sselib.validation import splits

NOTEBOOK = "05_llm_prompt_ablation"
_SHOWN = {"random_stratified": "MAE random", "group_chemsys": "MAE by chemical system"}


def finished_splits(run: Path) -> pd.DataFrame:
    """Return the rows of every finished fit of a run, with its processor seconds.

    Raises `DataError` where there is none.
    """
    files = sorted((run / NOTEBOOK / "parts").glob("*.parquet"))
    if not files:
        raise DataError(
            f"no finished fit in {run / NOTEBOOK / 'parts'}: run notebook 05 with --out {run} first"
        )
    return pd.concat([pd.read_parquet(f) for f in files], ignore_index=True)


def planned_splits(run: Path, *, profile: str) -> Mapping[str, int]:
    """Return how many splits each protocol has in a profile, on the run's curated rows."""
    text = (project_root() / "params" / profile / f"{NOTEBOOK}.yaml").read_text(encoding="utf-8")
    wanted = yaml.safe_load(text)
    table = RunFolder(run, NOTEBOOK).read_table("01_curation", "curated")
    main = next(iter(evaluation.datasets(table).values()))
    options = {"seed": wanted.get("seed", 0), "repeats": wanted["repeats"]}
    return {p: len(splits.protocol_splits(p, main, **options)) for p in wanted["protocols"]}


def times(rows: pd.DataFrame, planned: Mapping[str, int], *, causal_splits: int = 1) -> pd.DataFrame:
    """Return a row per model and case: fits done and planned, processor seconds, errors in log10 units.

    ``rows`` as `finished_splits`; a model that writes takes part in the first ``causal_splits`` splits.
    """
    rows = rows[rows[P.PROTOCOL].isin(planned)]
    found = []
    for (model, case), part in rows.groupby([P.MODEL, P.FEATURES], sort=False):
        writes = model.startswith(MINIATURE)
        plan = {p: min(n, causal_splits) if writes else n for p, n in planned.items()}
        fits = part.drop_duplicates([P.PROTOCOL, P.REPEAT, P.FOLD])
        done = fits[P.PROTOCOL].value_counts()
        error = (part[P.Y_PRED] - part[P.Y_TRUE]).abs().groupby(part[P.PROTOCOL]).mean()
        shown = {
            name: error[p] if plan.get(p) and done.get(p, 0) >= plan[p] else float("nan")
            for p, name in _SHOWN.items()
        }
        counts = {"done": len(fits), "planned": sum(plan.values()), "cpu_s": fits["cpu_seconds"].sum()}
        found.append({"model": model, "case": case, **counts, **shown})
    return pd.DataFrame(found)


def as_markdown(table: pd.DataFrame) -> str:
    """Return the table of `times` in Markdown, controls in one line, and a line with the sum."""
    named = table["model"].str.startswith((PACKAGED, MINIATURE)) | table["model"].str.contains("_lora")
    controls = table[~named & ~table["model"].str.startswith(CONTROL_PREFIX)]
    own = table.drop(index=controls.index)
    lines = [
        "| model | case | fits done / planned | processor seconds | MAE random | MAE by chemical system |",
        "|---|---|---|---|---|---|",
        *(_line(row) for row in own.to_dict("records")),
        f"| mean, median, look-up, shuffled | - | {controls['done'].sum()} / {controls['planned'].sum()} | "
        f"{controls['cpu_s'].sum():.0f} | - | - |",
    ]
    total = f"{table['done'].sum()} of {table['planned'].sum()} fits of the models that have begun"
    return "\n".join([*lines, "", f"{total}: {table['cpu_s'].sum() / 60:.1f} minutes of one core."])


def _line(row: Mapping[str, object]) -> str:
    errors = ["-" if pd.isna(row[name]) else f"{row[name]:.2f}" for name in _SHOWN.values()]
    head = f"| {row['model']} | {row['case']} | {row['done']} / {row['planned']} | {row['cpu_s']:.0f} | "
    return head + " | ".join(errors) + " |"


if __name__ == "__main__":
    place, chosen = Path(sys.argv[1]), (sys.argv[2:] or ["paper"])[0]
    print(as_markdown(times(finished_splits(place), planned_splits(place, profile=chosen))))
