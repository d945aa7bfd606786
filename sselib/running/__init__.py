"""Notebooks, parameter files, `sse run`, `sse check` and what a run records of itself."""
