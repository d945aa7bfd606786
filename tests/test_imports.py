"""Importing the package changes nothing in the session of whoever imports it."""

import subprocess
import sys

_SCRIPT = """
import os, plotly.io as pio
def state():
    mime = pio.renderers["plotly_mimetype"]
    own = {name: os.environ.get(name) for name in ("OMP_WAIT_POLICY", "OPENBLAS_NUM_THREADS")}
    return own, pio.templates.default, pio.renderers.default, dict(mime.config)
before = state()
import sselib, sselib.figures, sselib.notebook, sselib.plots.models, sselib.panels.display
assert before == state(), (before, state())
"""


def test_plotly_and_the_environment_stay_as_they_were():
    done = subprocess.run([sys.executable, "-c", _SCRIPT], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-1000:]
