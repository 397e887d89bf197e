"""What globs match."""

import pytest

from agent.globs import matches, may_lead, part_pattern, path_pattern, root_of, states


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
    assert bool(path_pattern(pattern).fullmatch(path)) is matches


def test_what_of_a_glob_is_left_behind_a_path() -> None:
    assert states(["var", "**", "a.log"], ["var"]) == [1, 2]
    assert states(["var", "**", "a.log"], ["var", "x", "y"]) == [1, 2]
    assert states(["var", "l?g", "*.log"], ["var", "log"]) == [2]
    assert states(["var", "*", "*.log"], ["var", ".hidden"]) == []
    assert may_lead("/var/*/a.log", "/var/x/a.log"), "a file may be a mount point as well"
    assert not may_lead("/var/*.log", "/var/x/y")


@pytest.mark.parametrize(
    ("include", "path", "shown"),
    [
        ("/a/*.log", "/a/b.log", True),
        ("/a/*.log", "/a/.b.log", False),
        ("/a/.*.log", "/a/.b.log", True),
        ("/a/*.log", "/a/b/c.log", False),
        ("/a/b[*].log", "/a/b*.log", True),
        ("/a/**/*.log", "/a/b.log", True),
        ("/a/**/*.log", "/a/b/c.log", True),
        ("/a/**/*.log", "/a/.b/c.log", False),
        ("/a/**", "/a/b/c", True),
        ("/a/**", "/a/.b", False),
        ("/a/**", "/a", False),
        ("/a/b.log", "/a/b.log.1", False),
    ],
)
def test_a_glob_tells_which_paths_it_would_show(include: str, path: str, shown: bool) -> None:
    assert matches(include, path) is shown


@pytest.mark.parametrize("odd", ["[]", "[!]", "[a", "[&&]", "[~~|||]", "[\\]", "[^a]", "[-x]", "a]"])
@pytest.mark.filterwarnings("error")
def test_odd_sets_mean_what_they_say_or_themselves(odd: str) -> None:
    part, path = part_pattern(odd), path_pattern("/" + odd)
    for name in (odd, *odd):
        assert (
            bool(part.fullmatch(name))
            is bool(path.fullmatch("/" + name))
            is (name == odd if odd in ("[]", "[!]", "[a", "a]") else name in odd[1:-1])
        ), name


def test_a_set_never_matches_the_slash() -> None:
    assert not path_pattern("/a[!b]c").fullmatch("/a/c")
    assert not path_pattern("/a[.-0]c").fullmatch("/a/c")
