"""How the property tests run, wherever they run, the options of the runs by dice, and what many tests share."""

import os
import random
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from lent_patterns import LentPatterns

from agent import config
from agent.transform.redact import Redactor

# The machines that run the suite are shared. How long an example takes, or how long its input takes to make, tells
# about the neighbours then and not about the agent; pytest's own time limit still ends a test that hangs.
settings.register_profile("shared machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared machine")

# Where bytecode is forbidden, each of the hundreds of agents would compile its source anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("random faults")
    group.addoption("--fault-seed", type=int, help="dice of the random-fault run; without it, new ones")
    group.addoption("--fault-minutes", type=float, default=60.0, help="how long the random-fault run takes")


@pytest.fixture
def fault_seed(request: pytest.FixtureRequest) -> int:
    """Told at the start of the run, so that a failure can be run again."""
    chosen = request.config.getoption("--fault-seed")
    return int(chosen) if chosen is not None else random.SystemRandom().randrange(10**6)


@pytest.fixture
def fault_minutes(request: pytest.FixtureRequest) -> float:
    return float(request.config.getoption("--fault-minutes"))


@pytest.fixture(scope="session")
def run_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for all processes of a run."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture(scope="session")
def lent(run_directory: Path) -> LentPatterns:
    return LentPatterns(run_directory)


@pytest.fixture(scope="session")
def redactor(lent: LentPatterns) -> Redactor:
    """As configured by default. Made once, for compiling its patterns takes longer than most tests."""
    return Redactor.build(config.Redact(), pseudonym_key=b"k" * 32, store=lent)


@pytest.fixture(params=["auto", "poll"])
def watch_mode(request: pytest.FixtureRequest) -> str:
    """Everything about files is shown with file events and without."""
    return str(request.param)
