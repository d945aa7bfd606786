"""Notebook-driven discovery of solid-state electrolytes."""

import os

# Threads of a fit that wait for each other must not spin: beside other work on the machine a fit of a second
# would take a minute. Read by OpenMP when it is loaded, so it is set before anything else is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# Matrices here have hundreds of rows: a second thread of BLAS makes a Gaussian process four times slower.
# Fits side by side use the cores instead. A notebook kernel of `sse run` inherits it before NumPy is there.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

__version__ = "0.1.0"
