"""The command: verbs, messages, exit codes."""

import asyncio
import contextlib
import gzip
import os
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import traced
from agent_process import AgentProcess, environment, rss_peak_mib, run_as_module

from agent.demo.loki import Limits, LokiStandIn

MOST_MIB = 128
"""It takes 80, whatever the count; lines that were all kept would take more than this in the smaller test already."""


def call(*arguments: str, stdin: bytes = b"", **env: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        run_as_module(*arguments), input=stdin, capture_output=True, timeout=60, check=False, env=environment(**env)
    )


async def call_beside_loki(*arguments: str, prefix: Sequence[str] = ()) -> tuple[int, str, float]:
    """(exit code, stderr, peak memory in MiB) of a command, while this process answers as Loki.  prefix: a command that runs it.

    The peak is what /proc says while it runs: the kernel's own account at the end includes the parent's memory at the fork.
    """
    process = await asyncio.create_subprocess_exec(
        *prefix, *run_as_module(*arguments), stderr=asyncio.subprocess.PIPE, env=environment()
    )
    running = asyncio.create_task(process.communicate())
    peak_mib = 0.0
    while not running.done():
        with contextlib.suppress(OSError, AssertionError):  # it has ended meanwhile
            peak_mib = max(peak_mib, rss_peak_mib(process.pid))
        await asyncio.wait((running,), timeout=0.05)
    assert process.returncode is not None
    return process.returncode, running.result()[1].decode(), peak_mib


FEW_RULES = '[redact]\npresets = ["pii"]\n'
"""Takes what is personal out and is compiled at once; all rules take two seconds at each first start."""


def config_file(directory: Path, url: str = "http://127.0.0.1:9", extra: str = FEW_RULES) -> Path:
    path = directory / "config.toml"
    path.write_text(
        f'[agent]\nstate_dir = "{directory / "state"}"\n[[source]]\nname = "app"\ninclude = ["{directory}/*.log"]\n'
        f'[labels]\nhost = "test"\n[buffer]\nmin_free_bytes = "0B"\n[loki]\nurl = "{url}"\n[server]\nlisten = "127.0.0.1:0"\n{extra}'
    )
    return path


def test_the_version_is_told() -> None:
    assert call("--version").stdout.startswith(b"greenstack-agent ")


def test_a_verb_is_required() -> None:
    assert call().returncode == 2


def test_a_good_configuration_is_ok(tmp_path: Path) -> None:
    done = call("check", "-c", str(config_file(tmp_path, extra="")))
    assert (done.returncode, done.stderr) == (0, b"")


def test_every_mistake_is_told_at_once_with_its_place_and_the_nearest_name(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(
        '[agent]\nstate_dirr = "/x"\n[[source]]\ninclude = ["relative/*.log"]\n[batch]\nmax_bytes = "9GiB"\nmax_wait = 5\n'
        '[loki]\nbearer_token = { file = "/nowhere/token" }\n'
    )
    for verb in ("check", "run"):
        done = call(verb, "-c", str(path))
        assert done.returncode == 78
        text = done.stderr.decode()
        assert f"{path}:2: " in text
        assert "state_dir" in text
        for line in (4, 6, 7, 9):
            assert f"{path}:{line}: " in text, text
        assert b"Traceback" not in done.stderr


@pytest.mark.parametrize("verb", ["check", "run"])
def test_a_missing_configuration_is_78(tmp_path: Path, verb: str) -> None:
    done = call(verb, "-c", str(tmp_path / "none.toml"))
    assert done.returncode == 78
    assert b"none.toml" in done.stderr


def test_a_rule_that_does_not_compile_is_78(tmp_path: Path) -> None:
    path = config_file(tmp_path, extra='[[redact.rule]]\nid = "mine"\npattern = "(unclosed"\n')
    done = call("check", "-c", str(path))
    assert done.returncode == 78
    assert b"mine" in done.stderr or b"redact.rule" in done.stderr


@pytest.mark.parametrize("verb", ["check", "run"])
def test_a_start_of_events_that_no_automaton_matches_is_78_and_named(tmp_path: Path, verb: str) -> None:
    source = '[[source]]\nname = "traces"\ninclude = ["/var/log/traces/*.log"]\nmultiline = { start = "a{40000}" }\n'
    done = call(verb, "-c", str(config_file(tmp_path, extra=FEW_RULES + source)))
    assert done.returncode == 78, done.stderr
    assert b"'traces': multiline.start 'a{40000}' cannot be matched in linear time" in done.stderr
    assert b"Traceback" not in done.stderr


def test_an_unusable_state_directory_is_73(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    path = config_file(tmp_path)
    path.write_text(path.read_text().replace(str(tmp_path / "state"), str(tmp_path / "file" / "state")))
    done = call("run", "-c", str(path))
    assert done.returncode == 73, done.stderr
    assert b"Traceback" not in done.stderr


async def test_a_file_that_cannot_be_read_is_named_once_and_others_go_on(
    tmp_path: Path, loki: LokiStandIn, launch: Callable[..., AgentProcess]
) -> None:
    logs = tmp_path / "log"
    logs.mkdir()
    (logs / "elsewhere.log").symlink_to("/etc/hostname")
    (logs / "good.log").write_text("good\n")
    os.mkfifo(logs / "fifo.log")
    agent = launch(loki.url, str(logs / "*.log"))
    await agent.start()
    await loki.wait_for(lambda there: there.accepted >= 1)
    assert [entry.line for entry in loki.entries()] == [b"good"]
    assert agent.errors().count("elsewhere.log") == 1


def test_redact_takes_secrets_out_and_leaves_the_rest() -> None:
    plain = b'{"level": "INFO",  "message": "nothing here", "n": 1.50}\n'
    done = call("redact", "--report", stdin=plain + b"User credentials: bob:Hunter2-Sky\n" + b"no newline at the end")
    lines = done.stdout.split(b"\n")
    assert lines[0] + b"\n" == plain
    assert b"Hunter2" not in done.stdout
    assert lines[2] == b"no newline at the end"
    assert len(lines) == 3
    assert done.stderr.startswith(b"3 lines, 1 changed")
    assert done.returncode == 0


@pytest.mark.parametrize("count", [200_000, pytest.param(500_000, marks=pytest.mark.long)])
async def test_ship_delivers_very_many_lines_in_bounded_memory(tmp_path: Path, count: int) -> None:
    log = tmp_path / "big.txt"
    with log.open("w") as file:
        for number in range(count):
            file.write(
                f'{{"timestamp": {1763461800 + number // 1000}.{number % 1000:03}001, "level": "INFO", "message": "line {number}", '
                f'"logger": "src.routes", "function": "upload", "line": 45, "app": "greenstack", "request_id": "r-{number}"}}\n'
            )
    async with LokiStandIn(limits=Limits.without_rates()) as loki:
        path = config_file(tmp_path, loki.url, extra='[parse]\nout_of_range = "clamp"\n')
        code, errors, peak_mib = await call_beside_loki("ship", "-c", str(path), str(log))
        assert code == 0, errors
        assert loki.accepted == count
        assert loki.repeats == 0
        assert f"{count} entries delivered" in errors
        assert 20 < peak_mib < MOST_MIB, f"{peak_mib} MiB"
        assert not list((tmp_path / "state" / "ship").iterdir())


async def test_ship_reads_archives_and_a_last_line_without_newline(tmp_path: Path, loki: LokiStandIn) -> None:
    plain, packed = tmp_path / "a [1].txt", tmp_path / "b.gz"
    plain.write_bytes(b"one\ntwo")
    packed.write_bytes(gzip.compress(b"three\n") + gzip.compress(b"four\n"))
    code, errors, _ = await call_beside_loki(
        "ship", "-c", str(config_file(tmp_path, loki.url)), str(plain), str(packed)
    )
    assert code == 0, errors
    assert sorted(entry.line for entry in loki.entries()) == [b"four", b"one", b"three", b"two"]


async def test_ship_of_a_torn_archive_delivers_what_is_there_and_is_1(tmp_path: Path, loki: LokiStandIn) -> None:
    packed = tmp_path / "torn.gz"
    packed.write_bytes(gzip.compress(b"whole\n") + gzip.compress(b"lost\n" * 1000)[:-12])
    code, errors, _ = await call_beside_loki("ship", "-c", str(config_file(tmp_path, loki.url)), str(packed))
    assert code == 1
    assert "1 archives could not be read to their end" in errors
    assert loki.entries()[0].line == b"whole"


@pytest.mark.parametrize("begins", [b"BZh91AY&SY", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd"])
async def test_ship_of_what_is_not_read_names_it_and_is_1(tmp_path: Path, loki: LokiStandIn, begins: bytes) -> None:
    packed, plain = tmp_path / "packed.log", tmp_path / "plain.log"
    packed.write_bytes(begins + bytes(100))
    plain.write_bytes(b"one\n")
    code, errors, _ = await call_beside_loki(
        "ship", "-c", str(config_file(tmp_path, loki.url)), str(packed), str(plain)
    )
    assert code == 1
    assert f"{packed} was not read" in errors
    assert "not every file could be read" in errors
    assert [entry.line for entry in loki.entries()] == [b"one"]


@pytest.mark.skipif(bool(traced.why_not()), reason=traced.why_not())
async def test_ship_of_a_file_that_cannot_be_opened_names_it_and_is_1(tmp_path: Path, loki: LokiStandIn) -> None:
    broken, plain = tmp_path / "broken.log", tmp_path / "plain.log"
    for path in (broken, plain):
        path.write_bytes(b"one\n")
    code, errors, _ = await call_beside_loki(
        "ship", "-c", str(config_file(tmp_path, loki.url)), str(broken), str(plain),
        prefix=traced.injecting(tmp_path / "trace", "error=EIO", "openat", "1+", [str(broken)]),
    )  # fmt: skip
    assert code == 1
    assert f"cannot read {broken}: Input/output error" in errors
    assert "not every file could be read" in errors
    assert len(loki.entries()) == 1


def test_ship_of_a_directory_is_2(tmp_path: Path) -> None:
    done = call("ship", "-c", str(config_file(tmp_path)), str(tmp_path))
    assert done.returncode == 2
    assert b"not a regular file" in done.stderr


def test_ship_without_loki_is_69_and_goes_on_later(tmp_path: Path) -> None:
    log = tmp_path / "a.txt"
    log.write_text("one\ntwo\n")
    path = config_file(tmp_path)
    path.write_text(path.read_text().replace("[agent]\n", '[agent]\nshutdown_grace = "100ms"\n'))
    done = call("ship", "-c", str(path), "--patience", "0.5", str(log))
    assert done.returncode == 69, done.stderr
    assert b"2 wait" in done.stderr


def test_ship_of_a_missing_file_is_2(tmp_path: Path) -> None:
    done = call("ship", "-c", str(config_file(tmp_path)), str(tmp_path / "none.txt"))
    assert done.returncode == 2
    assert b"none.txt" in done.stderr


def test_the_demo_shows_lines_and_no_secret_and_ends_well() -> None:
    done = call("demo", "--seconds", "3", "--rate", "50")
    text = done.stdout.decode()
    assert done.returncode == 0, text + done.stderr.decode()
    assert "0 reached Loki" in text
