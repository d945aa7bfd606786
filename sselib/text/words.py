"""What the tables of notebook 05 call things, and Kim et al.'s numbers: `data/text_models.yaml`."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import lru_cache

import pandas as pd
import yaml

from sselib.errors import DataError
from sselib.paths import project_root


@dataclass(frozen=True)
class TextModelWords:
    """Label and description by model name, Kim et al.'s Table 8 (MAE by category, log10 units), a card."""

    models: Mapping[str, Mapping[str, str]]
    kim_table_8: Mapping[str, float]
    adapter_card: str


@lru_cache(maxsize=1)
def load_words() -> TextModelWords:
    """Return the content of `data/text_models.yaml`. Raises `DataError` if a part is missing or unknown."""
    found = yaml.safe_load((project_root() / "data" / "text_models.yaml").read_text(encoding="utf-8"))
    expected = [f.name for f in fields(TextModelWords)]
    if sorted(found) != sorted(expected):
        raise DataError(f"data/text_models.yaml holds {', '.join(found)}: expected {', '.join(expected)}")
    return TextModelWords(**found)


def described_models(encoder: str) -> pd.DataFrame:
    """Return label and what_it_is, indexed by model, for an encoder of that name and the controls."""
    found = {key.format(encoder=encoder): text for key, text in load_words().models.items()}
    table = pd.DataFrame.from_dict(found, orient="index", columns=["label", "what_it_is"])
    return table.rename_axis("model").assign(label=table["label"].str.replace("{encoder}", encoder))
