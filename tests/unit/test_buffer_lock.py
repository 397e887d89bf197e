from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.buffer.errors import StateHeld, StateUnusable
from agent.buffer.lock import Lock, make_private

HOLDER = """
import sys, time
from pathlib import Path
from agent.buffer.lock import Lock
lock = Lock(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_second_process_is_told_who_holds_the_directory(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    with pytest.raises(StateHeld, match=str(holder.pid)) as raised:
        Lock(tmp_path)
    assert raised.value.holder_pid == holder.pid


def test_the_lock_of_a_killed_process_is_free(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    lock = Lock(tmp_path)
    assert (tmp_path / "lock").read_text() == f"{os.getpid()}\n"
    lock.close()


def test_a_holder_without_a_number_is_still_a_holder(tmp_path: Path) -> None:
    lock = Lock(tmp_path)
    (tmp_path / "lock").write_text("")
    with pytest.raises(StateHeld) as raised:
        Lock(tmp_path)
    assert raised.value.holder_pid is None
    lock.close()


def test_the_directory_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    make_private(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o700
    (tmp_path / "open").mkdir(mode=0o755)
    make_private(tmp_path / "open")
    assert (tmp_path / "open").stat().st_mode & 0o777 == 0o700


def test_a_directory_that_cannot_be_is_named_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StateUnusable, match="state_dir"):
        make_private(tmp_path / "file" / "buffer")
    (tmp_path / "lock").mkdir()
    with pytest.raises(StateUnusable, match="must own"):
        Lock(tmp_path)
