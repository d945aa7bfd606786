"""Notebook-driven discovery of solid-state electrolytes."""

__version__ = "0.1.0"
