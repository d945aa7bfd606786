"""Screening: what notebook 07 calls, in one place."""

from sselib.materials.lithium_sites import lithium_filling
from sselib.materials.structures import structures_by_id
from sselib.prediction.scorer import load_scorer
from sselib.screening.candidate_pool import candidate_pool
from sselib.screening.enrichment import enrichment_records, enrichment_table
from sselib.screening.explanation import contribution_rows, explain_candidates
from sselib.screening.filters import FilterSettings, apply_filters, filter_summary
from sselib.screening.material_properties import load_property_models
from sselib.screening.pareto import objectives_of, ranked, with_values
from sselib.screening.published_candidates import measured_errors, published_predicted, side_by_side
from sselib.screening.scoring import (
    best_by_formula,
    combine,
    composition_error,
    score_formulas,
    score_structures,
    scored_structures,
    with_hull_energies,
)
