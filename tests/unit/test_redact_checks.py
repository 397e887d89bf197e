"""Checksums and tables, against values made here and against wrong ones."""

from __future__ import annotations

import ast
import http.client
import json
import logging
import random
import string

import pytest

from agent.transform.redaction import checks, samples


@pytest.mark.parametrize("seed", range(30))
def test_generated_cards_and_ibans_pass_and_their_neighbours_do_not(seed):
    dice = random.Random(seed)
    card, iban = samples.card(dice), samples.iban(dice)
    assert checks.card(card)
    assert checks.iban(iban)
    wrong = card[:-1] + str((int(card[-1]) + 1) % 10)
    assert not checks.card(wrong)
    assert not checks.iban(iban[:-1] + str((int(iban[-1]) + 1) % 10))


@pytest.mark.parametrize("seed", range(30))
def test_a_bitcoin_key_is_known_by_its_checksum(seed):
    key = samples.wif(random.Random(seed))
    assert len(key) in (51, 52)
    assert checks.wif(key)
    assert not checks.wif(key[:20] + ("x" if key[20] != "x" else "y") + key[21:])
    assert not checks.wif(key[:-1] + ("x" if key[-1] != "x" else "y"))
    assert not checks.wif("5" + "z" * 50)


@pytest.mark.parametrize("digits", ["1763461800000294", "0000000000000000", "9999999999999995", "411111111111111"])
def test_long_numbers_are_no_cards(digits):
    assert not checks.card(digits)


@pytest.mark.parametrize(
    ("text", "valid"),
    [
        ("123-45-6789", True),
        ("000-12-3456", False),
        ("666-12-3456", False),
        ("900-12-3456", False),
        ("123-00-4567", False),
        ("123-45-0000", False),
    ],
)
def test_social_security_ranges(text, valid):
    assert checks.ssn(text) is valid


def test_the_checksum_of_code_hosts_is_six_base62_digits():
    assert checks.crc32_base62("") == "000000"
    assert len(checks.crc32_base62("x" * 30)) == 6


def test_basic_credentials_decode_to_a_pair():
    assert checks.basic_pair(samples.basic(random.Random(1)))
    assert not checks.basic_pair("authentication")
    assert not checks.basic_pair("AAAA")


def test_the_first_segment_tells_a_jwt():
    head = samples.jwt(random.Random(1)).partition(".")[0]
    assert checks.jose_header(head)
    assert not checks.jose_header(samples.segment({"a": 1}))
    assert not checks.jose_header("eyJxxxx")
    assert not checks.jose_header("a")


@pytest.mark.parametrize("word", ["YkNCnLqcylRf", "eFJmqNKEPD", "mzCjESpcUOpfVecHGEKE"])
def test_letters_that_nobody_could_say_are_no_word(word):
    assert checks.like_no_word(word)


@pytest.mark.parametrize(
    "word",
    ["getUserAccountName", "SecretStr", "HTTPBearer", "PasswordHasher", "KeePassXC", "DocTestSuite", "NoSuchCluster"],
)
def test_the_humps_of_an_identifier_are_words(word):
    assert not checks.like_no_word(word)


def test_most_random_letters_are_known_and_few_identifiers():
    dice = random.Random(5)
    tokens = ["".join(dice.choices(string.ascii_letters, k=dice.randrange(10, 20))) for _ in range(500)]
    names = {
        name for module in (ast, http.client, json, logging, random, string) for name in dir(module) if name.isalpha()
    }
    assert sum(map(checks.like_no_word, tokens)) > 0.75 * len(tokens)
    assert sum(map(checks.like_no_word, names)) < 0.02 * len(names)
