"""genner_cli.ledger: counts over what became of documents."""

from genner_cli.ledger import Ledger, Outcome, outcome_of
from genner_cli.types import Document, Entity, Extraction, FailedDocument, Reason

ENTITY = Entity(0, 4, "PER", "John")
RESULTS = [
    Extraction(Document("John ran"), (ENTITY,), completions=("a", "b"), chunks=2),
    Extraction(Document(" ")),
    Extraction(FailedDocument("f:1: not JSON", "f:1"), error="f:1: not JSON", reason=Reason.INPUT),
    Extraction(Document("John"), (ENTITY,), error="died", completions=("",), reason=Reason.ENGINE, chunks=1),
    Extraction(Document("John!"), error="no parse", completions=("x",), reason=Reason.COMPLETION, chunks=1),
]


def test_an_outcome_is_what_the_extraction_says() -> None:
    assert [outcome_of(result) for result in RESULTS] == [
        Outcome(8, 2, 1, None),
        Outcome(1, 0, 0, None),
        Outcome(0, 0, 0, Reason.INPUT),
        Outcome(4, 1, 0, Reason.ENGINE),
        Outcome(5, 1, 0, Reason.COMPLETION),
    ]


def test_the_ledger_adds_up() -> None:
    ledger = Ledger.of(map(outcome_of, RESULTS))
    assert ledger.failed == 3
    assert ledger.value() == {
        "documents": 5,
        "done": 2,
        "failed": {"input": 1, "engine": 1, "completion": 1, "pattern": 0},
        "entities": 1,
        "chunks": 4,
        "characters_read": 9,
        "characters_not_read": 9,
    }
    assert ledger.text() == "5 documents, 1 entity, 3 failed (1 completion, 1 engine, 1 input)"
    assert Ledger().text() == "0 documents, 0 entities, 0 failed"
