"""Numbers that describe a composition and its structure: what notebooks call, in one place."""

from sselib.features.checks import coverage, feature_records, rank_correlations
from sselib.features.pores import PoreSettings
from sselib.features.table import compute_features

__all__ = [
    "PoreSettings",
    "compute_features",
    "coverage",
    "feature_records",
    "rank_correlations",
]
