"""`python -m agent` is the command `greenstack-agent`."""

import sys

from agent.cli import main

sys.exit(main())
