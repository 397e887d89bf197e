import os
from pathlib import Path

import pytest

from agent.config import Secret
from agent.secret import MAX_SECRET_BYTES, SecretMissing, SecretReader


def test_a_file_gives_its_text_without_white_space_around_it(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text(" s3cret \n")
    assert SecretReader(Secret(file=str(path))).read() == "s3cret"


def test_a_file_that_is_replaced_or_rewritten_gives_the_new_secret(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("one")
    reader = SecretReader(Secret(file=str(path)))
    assert reader.read() == "one"
    stat = path.stat()
    path.write_text("two")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # same size, same time
    assert reader.read() == "two"
    new = tmp_path / "new"
    new.write_text("three")
    new.replace(path)
    assert reader.read() == "three"


def test_an_environment_variable_gives_its_value() -> None:
    assert SecretReader(Secret(env="TOKEN"), {"TOKEN": "abc"}).read() == "abc"


def test_a_credential_is_looked_for_where_systemd_says(tmp_path: Path) -> None:
    (tmp_path / "loki").write_text("abc\n")
    assert SecretReader(Secret(credential="loki"), {"CREDENTIALS_DIRECTORY": str(tmp_path)}).read() == "abc"


@pytest.mark.parametrize(
    ("secret", "environ", "words"),
    [
        (Secret(file="/nowhere/token"), {}, ["file /nowhere/token", "create it"]),
        (Secret(file="/"), {}, ["file /", "cannot be read"]),
        (Secret(env="TOKEN"), {}, ["environment variable TOKEN", "set it"]),
        (Secret(env="TOKEN"), {"TOKEN": " "}, ["environment variable TOKEN", "empty"]),
        (Secret(env="TOKEN"), {"TOKEN": "p\udcffword"}, ["environment variable TOKEN", "not UTF-8"]),
        (Secret(credential="loki"), {}, ["credential loki", "LoadCredential=loki:"]),
        (Secret(credential="loki"), {"CREDENTIALS_DIRECTORY": "/nowhere"}, ["credential loki", "/nowhere/loki"]),
    ],
)
def test_a_missing_secret_is_explained(secret: Secret, environ: dict[str, str], words: list[str]) -> None:
    with pytest.raises(SecretMissing) as caught:
        SecretReader(secret, environ).read()
    assert all(word in str(caught.value) for word in words)


@pytest.mark.parametrize("content", [b"hunter2\xff\xfe", b"hunter2" * MAX_SECRET_BYTES])
def test_a_message_never_shows_the_secret(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "token"
    path.write_bytes(content)
    reader = SecretReader(Secret(file=str(path)))
    with pytest.raises(SecretMissing) as caught:
        reader.read()
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert "hunter2" not in repr(reader)


def test_a_message_never_shows_a_variable() -> None:
    with pytest.raises(SecretMissing) as caught:
        SecretReader(Secret(env="TOKEN"), {"TOKEN": "hunter2\udcff"}).read()
    assert "hunter2" not in str(caught.value)
    assert "udcff" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_the_representation_names_the_place_only(tmp_path: Path) -> None:
    assert repr(SecretReader(Secret(env="TOKEN"), {"TOKEN": "hunter2"})) == "SecretReader(environment variable TOKEN)"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_explained(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("abc")
    path.chmod(0)
    with pytest.raises(SecretMissing, match="read access"):
        SecretReader(Secret(file=str(path))).read()
