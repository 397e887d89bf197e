"""Which files there are, and which of them may be read."""

import os
from pathlib import Path

import pytest

from agent.config import Source
from agent.tail.directories import have_changed
from agent.tail.discovery import NotTheFile, list_files, open_regular
from agent.tail.mounts import Area
from agent.tail.names import extends, is_rotated_name, possible_bases


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
    assert {path for path, _ in listing.directories.with_keys()} == {f"{tmp_path}/logs", f"{tmp_path}/logs/a"}


@pytest.mark.parametrize(
    ("pattern", "watched"),
    [
        ("*.log", {""}),
        ("*/*.log", {"", "/a", "/b"}),
        ("*/x/*.log", {"", "/a/x", "/b"}),
        ("**/*.log", {"", "/a", "/a/x", "/b"}),
        ("a/x/app.log", {"/a/x"}),
        ("c/d/app.log", {""}),
        ("c/d/*.log", {""}),
        ("b/*/d/*.log", {"/b"}),
    ],
)
def test_directories_are_all_those_in_which_what_matches_can_appear(
    tmp_path: Path, pattern: str, watched: set[str]
) -> None:
    """Those that hold directories of the way, too: one that is not there is stood for by the nearest above it."""
    (tmp_path / "a" / "x").mkdir(parents=True)
    (tmp_path / "b").mkdir()
    listing = list_files([Source(include=(f"{tmp_path}/{pattern}",))])
    assert {path.removeprefix(str(tmp_path)) for path, _ in listing.directories.with_keys()} == watched


def test_a_change_in_a_directory_shows_once_it_was_listed(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    source = Source(include=(f"{tmp_path}/*/*.log",))
    long_ago_ns = 1_700_000_000 * 10**9

    def listed() -> dict[str, int]:
        return list_files([source]).directories.changed_ns

    assert have_changed(listed()), "made just now: another change could have the same time"
    for directory in (tmp_path, tmp_path / "a"):
        os.utime(directory, ns=(long_ago_ns, long_ago_ns))
    known = listed()
    assert not have_changed(known)
    (tmp_path / "a" / "x.log").write_text("x")
    assert have_changed(known)
    for directory in (tmp_path, tmp_path / "a"):
        os.utime(directory, ns=(long_ago_ns, long_ago_ns))
    assert not have_changed(known)
    (tmp_path / "a" / "x.log").unlink()
    (tmp_path / "a").rmdir()
    assert have_changed({f"{tmp_path}/a": long_ago_ns})


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


def test_a_link_back_up_the_tree_does_not_make_it_endless(tmp_path: Path) -> None:
    deep = tmp_path / "a" / "b"
    deep.mkdir(parents=True)
    (deep / "x.log").write_text("x")
    (deep / "up").symlink_to(tmp_path)
    found = list_files([Source(include=(f"{tmp_path}/**/*.log",))]).found
    assert [file.path for file in found] == [str(deep / "x.log")]


def test_a_directory_that_cannot_be_listed_is_told(tmp_path: Path) -> None:
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    listing = list_files([Source(include=(f"{tmp_path}/loop/*.log", f"{tmp_path}/none/*.log"))])
    assert [unseen.path for unseen in listing.unseen] == [str(loop)]


def test_an_area_is_walked_from_its_mount_points_and_not_into_others(tmp_path: Path) -> None:
    for name in ("a", "b", "b/c"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.log").write_text("x")
    source = Source(include=(f"{tmp_path}/*/*.log", f"{tmp_path}/b/c/*.log"))
    b = f"{tmp_path}/b"

    def paths(area: Area) -> set[str]:
        return {file.path.removeprefix(f"{tmp_path}/") for file in list_files([source], area).found}

    assert paths(Area("1", ("/",), frozenset({b}))) == {"a/x.log"}
    assert paths(Area("2", (b,), frozenset({f"{b}/c"}))) == {"b/x.log"}
    assert paths(Area("3", (f"{b}/c",), frozenset({b}))) == {"b/c/x.log"}


def test_a_file_that_lies_outside_its_roots_is_not_opened(tmp_path: Path) -> None:
    inside, outside = tmp_path / "in" / "a.log", tmp_path / "out"
    inside.parent.mkdir()
    outside.write_text("secret")
    inside.symlink_to(outside)
    key = (outside.stat().st_dev, outside.stat().st_ino)
    with pytest.raises(PermissionError):
        open_regular(str(inside), key, [f"{inside.parent}/"])
    fd, _ = open_regular(str(inside), key, [f"{tmp_path}/"])
    os.close(fd)


def test_what_rotation_moved_to_another_file_system_may_be_read(tmp_path: Path) -> None:
    olddir = f"{tmp_path}/old"
    source = Source(name="app", include=(f"{tmp_path}/*.log",), olddir=olddir)
    for elsewhere in (frozenset[str](), frozenset({olddir})):
        assert f"{olddir}/" in list_files([source], Area("1", ("/",), elsewhere)).roots["app"]
