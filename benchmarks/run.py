"""The benchmarks of the protocol: ``python benchmarks/run.py``, or single ones: ``python benchmarks/run.py s2 s6``."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.suite.main import main

if __name__ == "__main__":
    sys.exit(main())
