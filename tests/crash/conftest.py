"""The fixtures of the system tests: an agent to launch and a Loki stand-in."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "system"))
