"""An agent to launch and a Loki stand-in to ship to."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from agent_process import AgentProcess, assert_nothing_is_unaccounted

from agent.demo.loki import Limits, LokiStandIn


@pytest.fixture
async def loki() -> AsyncIterator[LokiStandIn]:
    # Not the rates: how fast lines arrive is not what these tests are about.
    async with LokiStandIn(limits=Limits.without_rates()) as stand_in:
        yield stand_in


@pytest.fixture(scope="session")
def patterns(run_directory: Path) -> Path:
    """Where compiled patterns are lent to all agents of a run, in whatever process of it."""
    return run_directory / "patterns.hyperscan"


@pytest.fixture
async def launch(tmp_path: Path, patterns: Path) -> AsyncIterator[Callable[..., AgentProcess]]:
    """Makes agents in directories of their own. At the end each that still runs must account for every line."""
    made: list[AgentProcess] = []

    def make(loki_url: str, include: str, **tables: str) -> AgentProcess:
        directory = tmp_path / f"agent-{len(made)}"
        directory.mkdir()
        made.append(AgentProcess(directory, loki_url, include, patterns, **tables))
        return made[-1]

    yield make
    for agent in made:
        if agent.process is not None and agent.process.returncode is None:
            try:
                assert_nothing_is_unaccounted(await agent.metrics())
            finally:
                agent.process.kill()
                await agent.process.wait()
