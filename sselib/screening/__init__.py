"""Candidates: where they come from, their scores, filters, fronts and explanations."""
