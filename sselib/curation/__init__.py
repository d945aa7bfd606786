"""One labelled table from several sources, and what is said about it: what notebook 01 calls."""

from sselib.curation.inputs import load_sources
from sselib.curation.merging import audit_counts, curate
from sselib.curation.noise import disagreements, label_noise
from sselib.curation.overview import (
    answer_lines,
    class_table,
    cluster_table,
    family_table,
    finding_table,
    metric_records,
    structure_table,
)
from sselib.materials.families import unknown_families
from sselib.sources.own import load as load_own_table
from sselib.validation.leakage import audit_protocols

__all__ = [
    "answer_lines",
    "audit_counts",
    "audit_protocols",
    "class_table",
    "cluster_table",
    "curate",
    "disagreements",
    "family_table",
    "finding_table",
    "label_noise",
    "load_own_table",
    "load_sources",
    "metric_records",
    "structure_table",
    "unknown_families",
]
