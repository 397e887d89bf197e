"""Who may import whom: the rules that keep the path of a line readable."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent / "agent"
STAGES = ("tail", "transform", "batch", "buffer", "push")
SHARED = {
    "agent",
    "agent.model",
    "agent.config",
    "agent.globs",
    "agent.http",
    "agent.wire",
    "agent.secret",
    "agent.durable",
    "agent.observe.events",
}
CORE = (
    "model.py", "globs.py", "wire.py", "wire_writer.py", "tail/framing.py", "tail/identity.py", "tail/container.py", "tail/open_end.py", "tail/kubernetes.py",
    "tail/encoding.py", "transform/events.py", "transform/parse.py", "transform/glance.py", "transform/timestamp.py", "transform/level.py",
    "transform/label.py", "transform/metadata.py", "transform/look.py", "transform/chain.py", "batch/batcher.py",
    "batch/stamp.py", "buffer/record.py", "push/reply.py", "observe/health.py",
)  # fmt: skip
ACTING = {
    "asyncio",
    "os",
    "socket",
    "time",
    "random",
    "logging",
    "subprocess",
    "threading",
    "aiohttp",
    "watchfiles",
    "pathlib",
}


def imports(path: Path) -> set[str]:
    """Every module that a file imports, wherever in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found |= {
                f"{node.module}.{alias.name}"
                for alias in node.names
                if (ROOT.parent / node.module.replace(".", "/")).is_dir()
            }
    return found


def ours(path: Path) -> set[str]:
    return {name for name in imports(path) if name == "agent" or name.startswith("agent.")}


@pytest.mark.parametrize("name", CORE)
def test_the_core_decides_and_never_acts(name: str) -> None:
    assert not {module.split(".")[0] for module in imports(ROOT / name)} & ACTING
    assert "agent.http" not in imports(ROOT / name)


@pytest.mark.parametrize(
    "path", [path for stage in STAGES for path in (ROOT / stage).rglob("*.py")], ids=lambda p: str(p.relative_to(ROOT))
)
def test_stages_do_not_know_each_other(path: Path) -> None:
    stage = path.relative_to(ROOT).parts[0]
    foreign = {
        name
        for name in ours(path)
        if name not in SHARED and not name.startswith(f"agent.{stage}") and name.rpartition(".")[0] not in SHARED
    }
    assert not foreign


@pytest.mark.parametrize(
    "path", [p for p in ROOT.rglob("*.py") if p.name not in ("cli.py", "running.py", "show.py")], ids=str
)
def test_only_the_command_knows_the_wiring(path: Path) -> None:
    assert "agent.app" not in ours(path)


@pytest.mark.parametrize("name", ["model.py", "config.py", "globs.py", "wire.py", "wire_writer.py"])
def test_what_everyone_knows_knows_nobody(name: str) -> None:
    assert ours(ROOT / name) <= {"agent.globs", "agent.wire_writer"}


def test_the_pipeline_knows_values_and_events_only() -> None:
    assert {name for name in ours(ROOT / "pipeline.py") if name.count(".") == 1 or name.startswith("agent.observe")} <= {
        "agent.model", "agent.observe.events", "agent.observe", *(n for n in ours(ROOT / "pipeline.py") if n.startswith(("agent.model.", "agent.observe.events.")))
    }  # fmt: skip
