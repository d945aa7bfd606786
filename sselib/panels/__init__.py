"""Panels: explore a run in JupyterLab, each with one line in a notebook.

`dataset.show(run)`, `model.show(run)` and `screening.show(run)` take the run folder that a notebook opened,
or its path. In JupyterLab they are interactive; in a headless run and in the report they show the same
content as figures and tables (see `display`).
"""
