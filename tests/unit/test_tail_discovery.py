"""Which files there are, and which of them may be read."""

import os
import re
from pathlib import Path

import pytest

from agent.config import Source
from agent.tail.discovery import NotTheFile, glob_pattern, list_files, open_regular, root_of
from agent.tail.relatives import extends, is_rotated_name, possible_bases


@pytest.mark.parametrize(
    ("include", "root"),
    [
        ("/var/log/greenstack/*.log", "/var/log/greenstack"),
        ("/var/log/*/app.log", "/var/log"),
        ("/var/log/**/*.log", "/var/log"),
        ("/var/log/app.log", "/var/log"),
        ("/var/l[[]og/a[*].log", "/var/l[og"),
        ("/*.log", "/"),
    ],
)
def test_the_root_of_a_glob_is_its_directories_before_the_first_wildcard(include: str, root: str) -> None:
    assert root_of(include) == root


@pytest.mark.parametrize(
    ("pattern", "path", "matches"),
    [
        ("/a/*.log", "/a/b.log", True),
        ("/a/*.log", "/a/b/c.log", False),
        ("/a/**/*.log", "/a/b.log", True),
        ("/a/**/*.log", "/a/b/c/d.log", True),
        ("/a/**", "/a/b/c", True),
        ("/a/?.log", "/a/b.log", True),
        ("/a/[!b].log", "/a/b.log", False),
        ("/a/[bc].log", "/a/c.log", True),
        ("/a/x[[]y.log", "/a/x[y.log", True),
    ],
)
def test_globs_match_whole_paths(pattern: str, path: str, matches: bool) -> None:
    assert bool(re.fullmatch(glob_pattern(pattern), path)) is matches


def test_a_listing_tells_files_directories_and_what_may_not_be_read(tmp_path: Path) -> None:
    (tmp_path / "logs" / "a").mkdir(parents=True)
    (tmp_path / "logs" / "a" / "x.log").write_text("x")
    (tmp_path / "outside.log").write_text("x")
    (tmp_path / "logs" / "a" / "out.log").symlink_to(tmp_path / "outside.log")
    (tmp_path / "logs" / "a" / "in.log").symlink_to("x.log")
    listing = list_files([Source(include=(f"{tmp_path}/logs/**/*.log",))])
    assert {Path(found.path).name: found.is_link for found in listing.found} == {"x.log": False, "in.log": True}
    assert [(Path(refused.path).name, refused.reason) for refused in listing.refused] == [
        ("out.log", "link leads outside")
    ]
    assert {path for path, _ in listing.directories} == {f"{tmp_path}/logs", f"{tmp_path}/logs/a"}


def test_what_was_swapped_since_the_scan_is_not_opened(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_text("x")
    key = (log.stat().st_dev, log.stat().st_ino)
    log.rename(tmp_path / "b.log")
    os.mkfifo(log)
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(NotTheFile):
        open_regular(str(log), key)
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize(
    ("name", "is_rotated"),
    [
        ("app.log.1", True),
        ("app.log-20260102", True),
        ("app.log.2026-01-02T03", True),
        ("app-20260102.log", True),
        ("app.log.bak", False),
        ("app.log", False),
        ("app2.log", False),
        ("other-20260102.log", False),
    ],
)
def test_names_that_rotation_gives_are_known(name: str, is_rotated: bool) -> None:
    assert is_rotated_name(name, "app.log") is is_rotated
    assert extends(name, "app.log") is (is_rotated or name == "app.log.bak")
    assert ("app.log" in list(possible_bases(name))) is extends(name, "app.log")
