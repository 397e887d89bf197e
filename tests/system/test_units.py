"""The unit and its companions, as systemd itself reads them."""

from __future__ import annotations

import re
import shutil
import subprocess
from configparser import RawConfigParser
from pathlib import Path

import pytest

from agent import config, failures

SYSTEMD = Path(__file__).parents[2] / "systemd"
UNIT = SYSTEMD / "greenstack-agent.service"
DROP_INS = sorted((SYSTEMD / "drop-ins").glob("*.conf"))

HARDENING = {
    "CapabilityBoundingSet": [""],
    "AmbientCapabilities": [""],
    "NoNewPrivileges": ["yes"],
    "ProtectSystem": ["strict"],
    "ProtectHome": ["yes"],
    "PrivateTmp": ["yes"],
    "PrivateDevices": ["yes"],
    "PrivateMounts": ["yes"],
    "ProtectHostname": ["yes"],
    "ProtectClock": ["yes"],
    "ProtectKernelTunables": ["yes"],
    "ProtectKernelModules": ["yes"],
    "ProtectKernelLogs": ["yes"],
    "ProtectControlGroups": ["yes"],
    "ProtectProc": ["invisible"],
    "LockPersonality": ["yes"],
    "MemoryDenyWriteExecute": ["yes"],
    "RestrictRealtime": ["yes"],
    "RestrictSUIDSGID": ["yes"],
    "RestrictNamespaces": ["yes"],
    "RestrictAddressFamilies": ["AF_UNIX AF_INET AF_INET6"],
    "RemoveIPC": ["yes"],
    "KeyringMode": ["private"],
    "SystemCallArchitectures": ["native"],
    "SystemCallFilter": ["@system-service", "~@privileged @resources"],
    "SystemCallErrorNumber": ["EPERM"],
    "DevicePolicy": ["closed"],
    "UMask": ["0077"],
    "StateDirectoryMode": ["0700"],
}


def options(unit: Path) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in unit.read_text().splitlines():
        name, separator, value = line.partition("=")
        if separator and not line.startswith("#"):
            found.setdefault(name, []).append(value)
    return found


def seconds(text: str) -> float:
    value = config.parse_duration(text)
    assert isinstance(value, float)
    return value


def tool(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed")
    return path


def installed(tmp_path: Path) -> Path:
    """The unit as installed, with a program that exists here in the place of the agent."""
    unit = tmp_path / UNIT.name
    unit.write_text(re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", UNIT.read_text(), flags=re.MULTILINE))
    return unit


def with_drop_ins(unit: Path) -> Path:
    directory = unit.with_name(f"{unit.name}.d")
    directory.mkdir()
    for drop_in in DROP_INS:
        shutil.copy(drop_in, directory)
    return unit


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_systemd_finds_nothing_to_say_about_the_unit(tmp_path: Path) -> None:
    done = run(tool("systemd-analyze"), "verify", "--man=no", str(installed(tmp_path)))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_systemd_finds_nothing_to_say_about_the_drop_ins(tmp_path: Path) -> None:
    done = run(tool("systemd-analyze"), "verify", "--man=no", str(with_drop_ins(installed(tmp_path))))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(("prepare", "exposure"), [(installed, 13), (lambda path: with_drop_ins(installed(path)), 15)])
def test_the_unit_is_closed(tmp_path: Path, prepare: object, exposure: int) -> None:
    """`exposure` is in tenths: 1.3 of 10, and 1.5 with the capability to read every file."""
    assert callable(prepare)
    unit = prepare(tmp_path)
    done = run(
        tool("systemd-analyze"), "security", "--offline=true", f"--threshold={exposure}", "--no-pager", str(unit)
    )
    assert done.returncode == 0, done.stdout[-200:] + done.stderr


@pytest.mark.parametrize(("name", "values"), HARDENING.items(), ids=HARDENING.keys())
def test_each_lock_is_in_place(name: str, values: list[str]) -> None:
    assert options(UNIT)[name] == values


def test_what_would_blind_the_process_metrics_is_left_out() -> None:
    assert "ProcSubset" not in options(UNIT)


def test_what_would_take_the_log_group_away_is_left_out() -> None:
    assert "PrivateUsers" not in options(UNIT)
    assert options(UNIT)["SupplementaryGroups"] == ["adm"]


def test_the_agent_is_started_as_its_command_line_wants_it() -> None:
    (command,) = options(UNIT)["ExecStart"]
    assert command == "/opt/greenstack-agent/bin/greenstack-agent run -c /etc/greenstack-agent/config.toml"


def test_nothing_runs_before_the_agent_that_could_fail_for_ever() -> None:
    assert not {"ExecStartPre", "ExecReload", "ExecCondition"} & set(options(UNIT))


def test_a_mistake_of_the_operator_does_not_start_a_storm() -> None:
    assert options(UNIT)["Restart"] == ["always"]
    assert options(UNIT)["RestartPreventExitStatus"] == [f"{failures.USAGE} {failures.BAD_CONFIG}"]


def test_systemd_waits_for_readiness_and_watches() -> None:
    unit = options(UNIT)
    assert (unit["Type"], unit["NotifyAccess"]) == (["notify"], ["main"])
    assert seconds(unit["WatchdogSec"][0]) >= 30


def test_a_stop_may_take_longer_than_the_agent_wants() -> None:
    assert seconds(options(UNIT)["TimeoutStopSec"][0]) >= config.Agent().shutdown_grace + 15


def test_the_state_directory_is_the_default_one() -> None:
    (name,) = options(UNIT)["StateDirectory"]
    assert config.Agent().state_dir == f"/var/lib/{name}"


def test_the_credential_of_the_drop_in_is_the_one_the_example_names() -> None:
    name, path = options(SYSTEMD / "drop-ins/10-token.conf")["LoadCredential"][0].split(":")
    example = (SYSTEMD.parent / "config.example.toml").read_text()
    assert f'bearer_token = {{ credential = "{name}" }}' in example
    assert path.startswith("/etc/greenstack-agent/secrets/")


def test_one_capability_reads_any_log() -> None:
    unit = options(SYSTEMD / "drop-ins/20-read-any-log.conf")
    assert unit == {"CapabilityBoundingSet": ["CAP_DAC_READ_SEARCH"], "AmbientCapabilities": ["CAP_DAC_READ_SEARCH"]}


@pytest.mark.parametrize("drop_in", DROP_INS, ids=lambda path: path.name)
def test_a_drop_in_has_sections_systemd_knows(drop_in: Path) -> None:
    parser = RawConfigParser(strict=True)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read(drop_in)
    assert parser.sections() == ["Service"]


def test_the_user_can_be_made(tmp_path: Path) -> None:
    sysusers = tool("systemd-sysusers")
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/group").write_text("adm:x:4:\n")
    (tmp_path / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    done = run(sysusers, f"--root={tmp_path}", str(SYSTEMD / "greenstack-agent.sysusers"))
    if "Operation not permitted" in done.stderr:
        pytest.skip("only root can write another root's users")
    assert done.returncode == 0, done.stderr
    assert re.search(
        r"^greenstack-agent:.*:/var/lib/greenstack-agent:\S+/nologin$",
        (tmp_path / "etc/passwd").read_text(),
        re.MULTILINE,
    )
    assert re.search(r"^adm:x:4:greenstack-agent$", (tmp_path / "etc/group").read_text(), re.MULTILINE)


def test_the_directory_of_secrets_can_be_made(tmp_path: Path) -> None:
    tmpfiles = tool("systemd-tmpfiles")
    sample = tmp_path / "greenstack-agent.conf"
    text = (SYSTEMD / "greenstack-agent.tmpfiles").read_text()
    assert "root greenstack-agent" in text
    sample.write_text(text.replace("root greenstack-agent", "- -"))
    done = run(tmpfiles, "--create", f"--root={tmp_path}", str(sample))
    assert (done.returncode, done.stderr) == (0, "")
    made = tmp_path / "etc/greenstack-agent/secrets"
    assert made.stat().st_mode & 0o777 == 0o750


def test_logrotate_takes_the_sample_and_the_written_lines_survive(tmp_path: Path) -> None:
    logrotate = tool("logrotate")
    log = tmp_path / "app.log"
    log.write_text("line\n")
    inode = log.stat().st_ino
    sample = tmp_path / "greenstack.conf"
    text = (SYSTEMD / "logrotate.greenstack").read_text()
    text = re.sub(r"^ +su .*\n", "", text, flags=re.MULTILINE).replace("/var/log/greenstack", str(tmp_path))
    sample.write_text(text)
    sample.chmod(0o644)
    done = run(logrotate, "--force", "--state", str(tmp_path / "state"), str(sample))
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "app.log.1").read_text() == "line\n"
    assert (log.stat().st_ino, log.stat().st_size) == (inode, 0)


def test_the_guide_installs_every_file_there_is() -> None:
    guide = (SYSTEMD / "README.md").read_text()
    for file in SYSTEMD.rglob("*"):
        if file.is_file() and file.name != "README.md":
            assert str(file.relative_to(SYSTEMD)) in guide, file
