"""Merging the sources into one labelled table, and what is said about it."""
