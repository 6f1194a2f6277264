"""Names of a list, looked for in texts."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from strategies import examples, hostile_text

from genner_cli.data.characters import inner_offsets
from genner_cli.formats.shared.boundaries import is_boundary
from genner_cli.wordlists import WordList, key_of


def found(names: list[str], text: str, *, fold: bool = False) -> list[str]:
    return [text[start:end] for start, end, _ in WordList(names, fold=fold).find(text)]


def test_the_longest_name_stands_at_each_place() -> None:
    names = ["New York", "New York Times", "York", "Times Square"]
    text = "The New York Times of New\n York at York Times Square"
    assert found(names, text) == ["New York Times", "New\n York", "York", "Times Square"]


def test_case_counts_unless_folded() -> None:
    assert found(["Oslo"], "oslo OSLO Oslo") == ["Oslo"]
    assert found(["Oslo", "STRASSE"], "oslo OSLO Oslo Straße", fold=True) == ["oslo", "OSLO", "Oslo", "Straße"]


def test_signs_at_the_edge_of_a_name_count() -> None:
    assert found(["A-", "C++", "-"], "A, A- and C++; C -") == ["A-", "C++", "-"]


def test_names_stand_at_word_boundaries_and_anywhere_in_scripts_without_spaces() -> None:
    assert found(["Ann", "京都", "กรุงเทพ"], "Anna Ann's 東京都 ในกรุงเทพฯ") == ["Ann", "京都", "กรุงเทพ"]


def test_nothing_is_found_of_nothing() -> None:
    assert found([], "Ann") == found(["", " \n"], "Ann") == found(["Ann"], "") == []


@examples(300)
@given(hostile_text(), st.data(), st.booleans())
def test_each_part_of_a_text_between_boundaries_is_found_in_it(text: str, data: st.DataObject, fold: bool) -> None:
    cuts = [at for at in range(len(text) + 1) if is_boundary(text, at, inner_offsets(text))]
    start, end = sorted((data.draw(st.sampled_from(cuts)), data.draw(st.sampled_from(cuts))))
    name = text[start:end].strip()
    occurrences = list(WordList([name], fold=fold).find(text))
    assert all(key_of(text[each.start : each.end], fold=fold) == each.key for each in occurrences)
    assert all(before.end <= after.start for before, after in pairwise(occurrences))
    if name and all(part.isalpha() and part.isascii() for part in name.split()):
        assert any(name in text[each.start : each.end] for each in occurrences)


@examples(200)
@given(hostile_text())
def test_white_space_around_a_name_does_not_count(name: str) -> None:
    assert key_of(name, fold=True) == key_of(f" {name.strip()}\n", fold=True)
