"""Is this still the file we were reading?"""

from dataclasses import replace

import pytest

from agent.model import Origin, Position
from agent.tail.identity import Seen, Verdict, compare, fingerprint

CONTENT = bytes(range(256)) * 40
KNOWN = Position(9000, 4096, fingerprint(CONTENT[:4096]), fingerprint(CONTENT[8744:9000]), 0, Origin("s", "/a.log"))


@pytest.mark.parametrize(
    ("seen", "verdict"),
    [
        (Seen(9000, CONTENT[:4096], CONTENT[8744:9000]), Verdict.SAME),
        (Seen(99000, CONTENT[:4096], CONTENT[8744:9000]), Verdict.SAME),
        (Seen(8999, CONTENT[:4096], b""), Verdict.SHORTER),
        (Seen(9000, b"x" + CONTENT[1:4096], CONTENT[8744:9000]), Verdict.BEGINS_OTHERWISE),
        (Seen(9000, CONTENT[:4096], b"x" * 256), Verdict.DIFFERS_BEFORE_OFFSET),
    ],
)
def test_a_file_is_the_same_when_size_first_bytes_and_last_read_bytes_agree(seen: Seen, verdict: Verdict) -> None:
    assert compare(KNOWN, seen) is verdict


def test_of_a_file_nothing_was_read_from_nothing_can_differ() -> None:
    assert compare(Position(0, 0, b"", b"", 0, Origin("s", "/a.log")), Seen(0, b"", b"")) is Verdict.SAME


def test_an_inode_that_was_used_again_is_another_file_whatever_it_holds() -> None:
    known = replace(KNOWN, generation=7)
    same = Seen(len(CONTENT), CONTENT[:4096], CONTENT[8744:9000])
    assert compare(known, replace(same, generation=8)) is Verdict.INODE_USED_AGAIN
    assert compare(known, replace(same, generation=7)) is Verdict.SAME
    assert compare(known, same) is Verdict.SAME, "a file system that does not say"
    assert compare(KNOWN, replace(same, generation=8)) is Verdict.SAME, "a position from before it was asked"
