"""agent.transform.redaction.stems: many words looked for at once."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from agent.transform.redaction.stems import is_behind, lowered, stems, word_start

WORD = st.text(alphabet="ab.", min_size=1, max_size=4)


@given(st.sets(WORD, min_size=1, max_size=6), st.text(alphabet="ab. ", max_size=20))
def test_a_stem_is_found_wherever_one_of_the_words_begins(words: set[str], text: str) -> None:
    pattern = stems(*words)
    for at in range(len(text) + 1):
        assert bool(pattern.match(text, at)) == any(text.startswith(word, at) for word in words)


@given(st.text())
def test_in_lower_case_each_character_is_where_it_was(text: str) -> None:
    low = lowered(text)
    assert len(low) == len(text)
    assert all(
        low[n] == c.lower()[0] for n, c in enumerate(text) if c.lower() != "σ"
    )  # at the end of a word it is another
    assert not re.search("[A-Z]", low)


def test_the_character_that_becomes_two_does_not_hide_what_stands_behind_it() -> None:
    assert lowered("İPASSWORD") == "ipassword"


def test_what_stands_before_counts_as_a_word_of_its_own() -> None:
    words = ("your ", "one-time ")
    assert is_behind(words, "Your pin", 5)
    assert is_behind(words, "a ONE-TIME code", 11)
    assert not is_behind(words, "glamyour pin", 9)
    assert not is_behind(words, "your  pin", 6)
    assert not is_behind(words, "pin", 0)
    assert not is_behind(words, "my_your pin", 8)
    assert is_behind(words, "my_your pin", 8, joined=True)
    assert not is_behind(words, "glamyour pin", 9, joined=True)


def test_the_word_that_a_stem_ends_begins_with_its_first_letter() -> None:
    assert word_start("a Parameter_Key", 12) == 2
    assert word_start("key", 0) == 0
    assert word_start("ä_key", 2) == 1, "letters of other alphabets are in no name of ours"
    assert word_start("x" * 100, 99) == 99 - 32, "of a very long one a part"
