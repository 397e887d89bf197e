import pytest

from agent import wire
from agent.demo.labels import BadLabels, PoisonName, label_set, metadata_of, normal_name


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ('{service_name="s"}', '{service_name="s"}'),
        ('{job="j",host="h"}', '{host="h", job="j", service_name="j"}'),
        ('  { job = "j" , }  ', '{job="j", service_name="j"}'),
        ('{app="a", job="j"}', '{app="a", job="j", service_name="a"}'),
        ('{host="h"}', '{host="h", service_name="unknown_service"}'),
        ('{host="h", empty=""}', '{host="h", service_name="unknown_service"}'),
        ("{}", '{service_name="unknown_service"}'),
        ("", '{service_name="unknown_service"}'),
        (r'{service_name="a\"b\\c\nd\u00e9"}', r'{service_name="a\"b\\c\ndé"}'),
        ('{service_name="}, {"}', '{service_name="}, {"}'),
    ],
)
def test_labels_become_sorted_and_get_a_service_name(text: str, canonical: str) -> None:
    assert label_set(text).text == canonical


def test_a_label_given_twice_stays_twice_for_the_validator() -> None:
    assert label_set('{a="1", a="2"}').pairs[:2] == (("a", "1"), ("a", "2"))


@pytest.mark.parametrize(
    ("text", "column"),
    [
        ('{a-b="x"}', "1:3"),
        ('{日="x"}', "1:2"),
        ('{a="x" b="y"}', "1:8"),
        ("{a=x}", "1:4"),
        ('{a="x"} more', "1:8"),
        ('{a="x', "1:4"),
        ('{a="x"', "1:7"),
        (r'{a="\u00"}', "1:4"),
        (r'{a="\Uffffffff"}', "1:4"),
        ('{a="\udcff"}', "1:1"),
    ],
)
def test_what_is_no_label_set_is_refused_with_its_place(text: str, column: str) -> None:
    with pytest.raises(BadLabels, match=rf"^couldn't parse labels: {column}: parse error: "):
        label_set(text)


def test_labels_the_agent_writes_read_the_same() -> None:
    labels = {"filename": '/var/log/"a"\\b.log', "host": "höst\t1", "service_name": "green\nstack"}
    assert dict(label_set(wire.format_labels(labels)).pairs) == labels
    assert label_set(wire.format_labels(labels)).text == wire.format_labels(labels)


@pytest.mark.parametrize(
    ("name", "normal"),
    [
        ("request_id", "request_id"),
        ("a.b-c", "a_b_c"),
        ("a__b", "a_b"),
        ("9x", "key_9x"),
        ("__reserved__", "__reserved__"),
        ("größe", "gr_e"),
    ],
)
def test_metadata_names_become_prometheus_names(name: str, normal: str) -> None:
    assert normal_name(name) == normal


@pytest.mark.parametrize("name", ["", "_", "__", "--", "日本"])
def test_names_without_a_letter_are_poison(name: str) -> None:
    with pytest.raises(PoisonName):
        normal_name(name)


def test_metadata_is_sorted_sized_as_sent_and_made_utf8() -> None:
    metadata = metadata_of(wire.encode_metadata([(b"b", b"\xff1"), (b"a.a", b"22")]))
    assert metadata.pairs == ((b"a_a", b"22"), (b"b", b" 1"))
    assert metadata.sent_bytes == 8
    assert metadata.poison == ""


def test_metadata_remembers_its_poison() -> None:
    assert metadata_of(wire.encode_metadata([(b"", b"v")])).poison == "label name is empty"
