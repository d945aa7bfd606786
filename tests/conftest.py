"""What every test may use: the data mirror, and tests that repeat exactly."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("sse", derandomize=True, deadline=None)
settings.load_profile("sse")
os.environ.setdefault("SSE_PROGRESS", "log")


@pytest.fixture
def mirror() -> Path:
    """Return the folder of the data mirror, or skip the test and say why."""
    named = os.environ.get("SSE_DATA_MIRROR", "")
    if not named:
        pytest.skip("needs the public data: SSE_DATA_MIRROR is not set")
    if not Path(named).is_dir():
        pytest.skip(f"needs the public data: SSE_DATA_MIRROR={named} is not a folder")
    return Path(named)
