"""``python -m sselib`` is the command line `sse`."""

import sys

from sselib.cli import main

sys.exit(main())
