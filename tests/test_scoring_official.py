"""The paper's counts, by hand for each format, and its quirks."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest
from hypothesis import given
from strategies import Case, cases, examples

from genner_cli.errors import DataError, UsageError
from genner_cli.formats import FORMATS, output_format
from genner_cli.scoring import Counts
from genner_cli.scoring.figures import DocumentCounts, Key
from genner_cli.scoring.official import counts, document_counts
from genner_cli.types import Document, Entity, Extraction

LABELS = ("PER", "ORG", "LOC")


def counted(format: str, wanted: object, written: object, labels: Sequence[str] = LABELS) -> dict[str, Counts]:
    """Counts by label; what is no string is JSON."""
    texts = [value if isinstance(value, str) else json.dumps(value) for value in (wanted, written)]
    return {key.name: each for key, each in counts(format, *texts, labels).items()}


def test_bracketed_with_the_same_text_counts_places() -> None:
    wanted = "[Ann | PER] met [Ann | PER] in [Rome | LOC]."
    assert counted("bracketed", wanted, "[Ann | PER] met Ann in [Rome | ORG].") == {
        "PER": Counts(1, 1, 0),
        "LOC": Counts(0, 1, 0),
        "ORG": Counts(0, 0, 1),
    }
    assert counted("bracketed", "[Ann | PER] met Ann.", "Ann met [Ann | PER].") == {"PER": Counts(0, 1, 1)}


def test_bracketed_with_another_text_counts_mentions() -> None:
    """A word too many moves every place; the mentions still count, wherever they stand."""
    assert counted("bracketed", "[Ann | PER] met Ann.", "Then Ann met [Ann | PER].") == {"PER": Counts(1, 0, 0)}
    assert counted("bracketed", "[Ann | PER] met Ann.", "[Ann | PER] and [Ann | PER].") == {"PER": Counts(1, 0, 1)}


def test_bracketed_entities_nest() -> None:
    wanted = "[University of [Rome | LOC] | ORG]."
    assert counted("bracketed", wanted, wanted) == {"LOC": Counts(1), "ORG": Counts(1)}
    assert counted("bracketed", wanted, "University of [Rome | LOC].") == {"LOC": Counts(1), "ORG": Counts(0, 1, 0)}


def test_bracketed_labels_and_blanks_are_read_generously() -> None:
    assert counted("bracketed", "[Ann | PER]", "  [Ann |PER ]\n") == {"PER": Counts(1)}
    assert counted("bracketed", "[Ann | PER]", "[Ann | NEW  TYPE]") == {
        "PER": Counts(0, 1, 0),
        "NEW TYPE": Counts(0, 0, 1),
    }


def test_broken_brackets_say_nothing() -> None:
    assert counted("bracketed", "[Ann | PER] left.", "[Ann left.") == {"PER": Counts(0, 1, 0)}
    assert counted("bracketed", "[Ann | PER] left.", "Ann | PER] left.") == {"PER": Counts(0, 1, 0)}


def test_xml_with_the_same_text_counts_places_else_mentions() -> None:
    assert counted("xml", "<PER>Ann</PER> met Ann.", "Ann met <PER>Ann</PER>.") == {"PER": Counts(0, 1, 1)}
    assert counted("xml", "<PER>Ann</PER> met Ann.", "So Ann met <PER>Ann</PER>.") == {"PER": Counts(1)}


def test_xml_knows_the_tags_asked_for_only() -> None:
    """Another tag stays in the text, which is then another text."""
    assert counted("xml", "<PER>Ann</PER> left.", "<PER>Ann</PER> <b>left</b>.") == {"PER": Counts(1)}
    assert counted("xml", "<PER>Ann</PER> left.", "<FOO>Ann</FOO> left.") == {"PER": Counts(0, 1, 0)}


def test_a_closing_tag_forgets_what_was_opened_inside() -> None:
    wanted = "<ORG>Bank of <LOC>Rome</LOC></ORG>"
    assert counted("xml", wanted, wanted) == {"LOC": Counts(1), "ORG": Counts(1)}
    assert counted("xml", wanted, "<ORG>Bank of <LOC>Rome</ORG></LOC>") == {"ORG": Counts(1), "LOC": Counts(0, 1, 0)}


def test_category_counts_mentions_as_often_as_they_are_listed() -> None:
    wanted = {"PER": ["Ann", "Ann"], "ORG": [], "LOC": ["Rome"]}
    assert counted("category", wanted, {"PER": ["Ann"], "LOC": ["Rome", "Rome"], "X": "no list"}) == {
        "PER": Counts(1, 1, 0),
        "LOC": Counts(1, 0, 1),
    }


def test_occurrence_counts_with_the_index() -> None:
    item = {"text": "Ann", "label": "PER", "occurrence_index": 1}
    assert counted("occurrence", [item], [item, {**item, "occurrence_index": 2}]) == {"PER": Counts(1, 0, 1)}
    assert counted("occurrence", [item], [{**item, "occurrence_index": "1"}]) == {"PER": Counts(1)}
    assert counted("occurrence", [item], [item, {"text": "Bob", "label": "PER"}, "x"]) == {"PER": Counts(1)}


def test_offset_counts_with_both_offsets() -> None:
    item = {"text": "Ann", "label": "PER", "start": 0, "end": 3}
    assert counted("offset", [item], [{**item, "start": 1, "end": 4}]) == {"PER": Counts(0, 1, 1)}
    assert counted("offset", [item], [item, item]) == {"PER": Counts(1, 0, 1)}


@pytest.mark.parametrize("format", ["category", "occurrence", "offset"])
@pytest.mark.parametrize(
    "written", ["", "no JSON", '{"PER": ["Ann"]', "7", '[{"text": "Ann", "label": "PER", "start": "x"}]']
)
def test_json_that_cannot_be_read_says_nothing(format: str, written: str) -> None:
    item = {"text": "Ann", "label": "PER", "occurrence_index": 1, "start": 0, "end": 3}
    wanted = json.dumps({"PER": ["Ann"]} if format == "category" else [item])
    assert counted(format, wanted, written) == {"PER": Counts(0, 1, 0)}


def test_one_number_that_is_none_spoils_the_whole_list() -> None:
    item = {"text": "Ann", "label": "PER", "occurrence_index": 1}
    assert counted("occurrence", [item], [item, {**item, "occurrence_index": "one"}]) == {"PER": Counts(0, 1, 0)}


def test_marks_of_the_inserted_format_are_read_like_brackets() -> None:
    assert counted("inserted", "⟦Ann⦂PER⟧ met Ann.", "Ann met⟦ Ann⦂PER⟧.") == {"PER": Counts(0, 1, 1)}
    assert counted("inserted", "⟦Ann⦂PER⟧ met Ann.", "⟦Ann⦂PER⟧ met Ann.") == {"PER": Counts(1)}


@pytest.mark.parametrize("format", FORMATS)
@examples(60)
@given(case=cases())
def test_what_should_have_been_written_has_no_errors(format: str, case: Case) -> None:
    wanted = output_format(format).render(case.text, case.entities, case.labels, depth=4).completion
    found = counts(format, wanted, wanted, case.labels)
    assert all((each.missed, each.spurious) == (0, 0) for each in found.values())


@pytest.mark.parametrize("format", FORMATS)
def test_every_entity_of_a_plain_text_is_counted(format: str) -> None:
    text = "Ann met Bob of Acme, Rome, and Ann of Acme."
    output = output_format(format)
    case = [(0, 3, "PER"), (8, 11, "PER"), (15, 19, "ORG"), (21, 25, "LOC"), (31, 34, "PER"), (38, 42, "ORG")]

    wanted = output.render(text, [Entity(s, e, label, text[s:e]) for s, e, label in case], LABELS).completion
    found = counts(format, wanted, wanted, LABELS)
    assert found == {Key("label", "PER"): Counts(3), Key("label", "ORG"): Counts(2), Key("label", "LOC"): Counts(1)}


def test_an_unknown_format_is_refused() -> None:
    with pytest.raises(UsageError):
        counts("yaml", "", "", LABELS)


def of_document(*completions: str, text: str = "Ann met Bob.", error: str | None = None) -> tuple[DocumentCounts, int]:
    gold = (Entity(0, 3, "PER", "Ann"),) if text.startswith("Ann") else ()
    return document_counts(Extraction(Document(text, "7", gold), (), error, completions), "category", LABELS)


def test_a_documents_one_completion_is_counted_against_its_gold_entities() -> None:
    assert of_document('{"PER": ["Ann", "Bob"]}') == ({Key("label", "PER"): Counts(1, 0, 1)}, 0)


def test_a_document_that_failed_says_nothing_with_or_without_a_completion() -> None:
    missed = {Key("label", "PER"): Counts(0, 1, 0)}
    assert of_document(error="broken") == of_document("nonsense", error="broken") == (missed, 0)


def test_a_blank_document_has_no_completion_and_needs_none() -> None:
    assert of_document(text=" ") == ({}, 0)


def test_no_completion_and_several_are_refused_with_a_remedy() -> None:
    with pytest.raises(DataError, match=r"7: .*no completion .*--keep-completion"):
        of_document()
    with pytest.raises(DataError, match=r"7: .*2 completions, .*--chunk-bytes"):
        of_document("{}", "{}")


def test_gold_entities_that_a_format_cannot_say_are_left_out_and_counted() -> None:
    """Category JSON lists occurrences in order; the second "Ann" alone cannot be said."""
    document = Document("Ann met Ann.", "7", (Entity(8, 11, "PER", "Ann"),))
    found = document_counts(Extraction(document, (), None, ('{"PER": []}',)), "category", LABELS)
    assert found == ({}, 1)
