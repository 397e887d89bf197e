"""What files may hold that is hard to read, and how they may go on elsewhere: each told by the turns in which it happens."""

from __future__ import annotations

from pathlib import Path

import pytest
from by_hand import following

from agent.tail.reader import QUANTUM_BYTES
from agent.tail.worker import TURN_BYTES

TIME = "2026-01-02T03:04:05.678901234Z"


def docker(text: str, attrs: str = "") -> str:
    return f'{{"log":"{text}\\n","stream":"stdout","time":"{TIME}","attrs":{{"x":"{attrs}"}}}}\n'


# --- how much one turn reads ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("line", [docker("a", "y" * 8000), f"{TIME} stdout F:{'t' * 8000} a\n"])
def test_a_turn_ends_after_so_many_bytes_read_however_few_lines_they_hold(tmp_path: Path, line: str) -> None:
    log = tmp_path / "app.log"
    agent = following(log)
    agent.append(log, line * (3 * TURN_BYTES // len(line)))
    agent.turn()
    agent.persist()
    assert [position.offset for position in agent.positions.values()] == [pytest.approx(TURN_BYTES, abs=QUANTUM_BYTES)]
    assert agent.after(5) == ["a"] * (3 * TURN_BYTES // len(line))
