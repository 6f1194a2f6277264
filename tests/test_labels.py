"""genner_cli.files.labels: YAML and --types -> labels."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genner_cli.errors import UsageError
from genner_cli.files.labels import parse_types, read_label_tree
from genner_cli.types import Label


def read(folder: Path, content: str | bytes) -> list[Label]:
    path = folder / "labels.yaml"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return list(read_label_tree(str(path)).leaves())


def test_types_are_stripped_kept_in_order_and_named_once() -> None:
    assert parse_types(" PER, ORG,,PER ,geo-political entity") == [
        Label("PER"),
        Label("ORG"),
        Label("geo-political entity"),
    ]


@pytest.mark.parametrize("types", ["", " , ,", "PER,a[b]", "\ud800"])
def test_types_without_a_label_or_with_an_impossible_one_are_refused(types: str) -> None:
    with pytest.raises(UsageError):
        parse_types(types)


def test_a_mapping_gives_names_and_definitions_in_order(tmp_path: Path) -> None:
    text = "PER: a person\nORG:\nLOC: >\n  a place,\n  named\nMISC: ~\n'NO': ''\n"
    assert read(tmp_path, text) == [
        Label("PER", "a person"),
        Label("ORG"),
        Label("LOC", "a place, named"),
        Label("MISC"),
        Label("NO"),
    ]


def test_a_list_gives_names_and_objects(tmp_path: Path) -> None:
    text = "- PER\n- name: ORG\n  definition: a company\n- {name: LOC}\n- {definition: null, name: MISC}\n"
    assert read(tmp_path, text) == [Label("PER"), Label("ORG", "a company"), Label("LOC"), Label("MISC")]


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ("PER: a\nORG: b\nPER: c\n", 3, "'PER' .*twice"),
        ("- PER\n- name: PER\n", 2, "'PER' .*twice"),
        ("- name: PER\n  name: ORG\n", 2, "'name' .*twice"),
        ("- PER\n- name: ORG\n  colour: red\n", 3, "'colour'"),
        ("- PER\n- definition: a person\n", 2, "without a name"),
        ("PER: a\nNO: b\n", 2, "NO"),
        ("- 1\n", 1, "quotes"),
        ("PER: 3.5\n", 1, "quotes"),
        ("PER: [a, b]\n", 1, "definition of 'PER'"),
        ("- PER\n- [ORG]\n", 2, "list .*mapping"),
        ("PER: a\na[b]: c\n", 2, r"a\[b\]"),
        ('PER: a\n"OR\\u0007G": b\n', 2, "control character"),
        ('"\\ud800": b\n', 1, "control character"),
        ("PER: a\n\tORG: b\n", 2, "not YAML"),
        ("PER: a\n---\nORG: b\n", 2, "not YAML"),
        ("PER: *nobody\n", 1, "not YAML"),
        ("just words\n", 1, "neither"),
        ("<<: {PER: a}\n", 1, "<<"),
        ("? [a]\n: b\n", 1, "list .*mapping"),
        ("PER: !!python/object/apply:os.system ['true']\n", 1, "definition of 'PER'"),
        ("!!python/name:os.system : a\n", 1, "empty"),
        ("&a [*a]\n", 1, "list .*mapping"),
    ],
)
def test_a_mistake_is_reported_with_file_and_line(tmp_path: Path, text: str, line: int, what: str) -> None:
    with pytest.raises(UsageError) as caught:
        read(tmp_path, text)
    assert f"labels.yaml:{line}: " in str(caught.value)
    assert re.search(what, str(caught.value))


@pytest.mark.parametrize("content", ["", "# nothing\n", "{}", "[]", "~", "null"])
def test_a_file_without_labels_is_refused(tmp_path: Path, content: str) -> None:
    with pytest.raises(UsageError, match=r"labels\.yaml: .*no labels"):
        read(tmp_path, content)


@pytest.mark.parametrize("content", [b"\x80", b"PER: \0", b"\xff\xfea", b'"\\U00110000": a', b"[" * 20_000])
def test_what_is_not_yaml_text_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(UsageError, match=r"labels\.yaml.*not YAML"):
        read(tmp_path, content)


def test_a_missing_file_is_refused_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no-such"):
        read_label_tree(str(tmp_path / "no-such.yaml"))


@given(st.one_of(st.binary(max_size=60), st.text(alphabet="PO:-? \n{}[],&*!'\"#|>~N1", max_size=40).map(str.encode)))
def test_any_bytes_give_labels_or_a_usage_error(tmp_path: Path, content: bytes) -> None:
    try:
        labels = read(tmp_path, content)
    except UsageError:
        return
    assert labels
    assert len({label.name for label in labels}) == len(labels)
