"""Pairing: predictions and gold of the same documents come together, others are named; what is shown of them."""

from __future__ import annotations

import pytest

from genner_cli.errors import DataError
from genner_cli.pairing import in_order, pair_with_gold
from genner_cli.types import Document, Entity, Extraction, FailedDocument
from genner_cli.view.viewed import Viewed, alone, with_gold

ANN, BOB = Entity(0, 3, "PER", "Ann"), Entity(8, 11, "PER", "Bob")


def gold(text: str, line: int, id: str | None = None, *entities: Entity) -> Document:
    return Document(text, id, entities, {}, f"gold.jsonl:{line}")


def predicted(text: str, line: int, id: str | None = None, *entities: Entity) -> Extraction:
    return Extraction(Document(text, id, (), {"title": "T"}, f"pred.jsonl:{line}"), entities)


def test_a_document_alone_has_no_gold() -> None:
    assert alone(predicted("Ann.", 1, "a", ANN)) == Viewed(
        "Ann.", "a", (ANN,), None, None, "pred.jsonl:1", {"title": "T"}
    )


def test_failures_keep_the_message_that_says_most() -> None:
    unread = FailedDocument("pred.jsonl:1: not JSON", "pred.jsonl:1", "a")
    assert alone(Extraction(unread)).error == "pred.jsonl:1: not JSON"
    assert alone(Extraction(unread, error="too long")).error == "too long"
    assert alone(Extraction(Document("Ann."), error="broken")) == Viewed("Ann.", error="broken")


def test_ids_pair_in_any_order_and_the_predictions_order_stays() -> None:
    found = pair_with_gold(
        [gold("Ann.", 1, "a", ANN), gold("Bob.", 2, "b")], [predicted("Bob.", 1, "b"), predicted("Ann.", 2, "a")]
    )
    assert [(each.document.id, document.entities) for document, each in found] == [("b", ()), ("a", (ANN,))]


@pytest.mark.parametrize("ids", [(None, None), ("a", None), ("a", "a")])
def test_without_ids_of_their_own_documents_pair_by_position(ids: tuple[str | None, str | None]) -> None:
    found = list(
        pair_with_gold(
            [gold("Ann.", 1, ids[0], ANN), gold("Bob.", 2, ids[1])], [predicted("Ann.", 1), predicted("Bob.", 2)]
        )
    )
    assert [document.entities for document, _ in found] == [(ANN,), ()]


def test_a_message_shows_an_id_as_it_can_be_searched_for() -> None:
    id = "corpus-of-the-politics-part-valid-000006"
    with pytest.raises(DataError, match=f"'{id}'"):
        list(pair_with_gold([gold("Ann.", 1, id)], []))
    with pytest.raises(DataError) as caught:
        list(pair_with_gold([gold("Ann.", 1, "x" * 10_000)], []))
    assert len(str(caught.value)) < 1000


def test_a_failed_document_takes_text_and_gold_from_the_gold_data() -> None:
    failed = Extraction(FailedDocument("no text", "pred.jsonl:1", "a"), error="too long")
    (pair,) = pair_with_gold([gold("Ann.", 1, "a", ANN)], [failed])
    seen = with_gold(*pair)
    assert (seen.text, seen.predicted, seen.gold, seen.error) == ("Ann.", (), (ANN,), "too long")


@pytest.mark.parametrize(
    ("golden", "found", "words"),
    [
        (
            [gold("Ann met Bob.", 7, "a")],
            [predicted("Ann met Tom.", 3, "a")],
            ["pred.jsonl:3: ", "gold.jsonl:7", "character 8", "'Bob.'", "'Tom.'"],
        ),
        ([gold("Ann.", 7, "a")], [predicted("Ann.", 3, "b")], ["pred.jsonl:3: document 'b' ", "gold.jsonl:7"]),
        ([gold("Ann.", 7, "a")], [predicted("An", 3)], ["pred.jsonl:3: its text ", "gold.jsonl:7"]),
        (
            [gold("Ann.", 7, "a")],
            [predicted("Ann.", 3), predicted("Bob.", 4)],
            ["pred.jsonl:4: the document ", "gold.jsonl:7"],
        ),
        ([], [predicted("Ann.", 3)], ["pred.jsonl:3: the document ", "gold data", "empty"]),
        (
            [gold("Ann.", 7, "a")],
            [predicted("Ann.", 3, "a"), predicted("Ann.", 4, "a")],
            ["pred.jsonl:4: document 'a'", "twice"],
        ),
        (
            [gold("Ann.", 1, "a"), gold("Ann.", 2, "a")],
            [predicted("Ann.", 3, "b")],
            ["pred.jsonl:3: document 'b' ", "gold.jsonl:1 ", "document 'a'"],
        ),
        (
            [gold("Ann.", 1, "a"), gold("Ann.", 2, "b"), gold("Ann.", 3, "c")],
            [predicted("Ann.", 5, "a")],
            ["gold.jsonl:2: document 'b' ", "no prediction (one of 2 ", "pred.jsonl:5"],
        ),
        (
            [gold("Ann.", 1, "a")],
            [Extraction(FailedDocument("pred.jsonl:3: not JSON", "pred.jsonl:3"))],
            ["pred.jsonl:3: not JSON"],
        ),
    ],
)
def test_what_does_not_fit_is_named_with_lines_of_both(
    golden: list[Document], found: list[Extraction], words: list[str]
) -> None:
    with pytest.raises(DataError) as raised:
        list(pair_with_gold(golden, found))
    for word in words:
        assert word in str(raised.value)


def test_a_part_of_the_predictions_leaves_gold_over_in_peace() -> None:
    golden = [gold("Ann.", 1, "a", ANN), gold("Bob.", 2, "b")]
    assert len(list(pair_with_gold(golden, [predicted("Ann.", 1, "a")], whole=False))) == 1


def test_extractions_come_in_the_order_of_gold_as_if_that_had_been_extracted_from() -> None:
    golden = [gold("Ann.", 1, "a", ANN), gold("Bob.", 2, "b"), gold("Eve.", 3, "c")]
    failed = Extraction(FailedDocument("no text", "pred.jsonl:1", "b"), error="it broke")
    found = in_order(golden, [predicted("Eve.", 2, "c"), failed, predicted("Ann.", 3, "a", ANN, ANN)])
    assert found == [Extraction(golden[0], (ANN, ANN)), Extraction(golden[1], error="it broke"), Extraction(golden[2])]


def test_what_is_shown_has_each_entity_once() -> None:
    assert alone(predicted("Ann.", 1, "a", ANN, ANN)).predicted == (ANN,)
