"""`genner data sample`: the least certain documents, from all labels alike, the same ones every time."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Run
from hypothesis import given
from hypothesis import strategies as st
from resuming import documents, records, write_documents
from strategies import examples

from genner_cli.data.sampling import SampleOrder, Sampler
from genner_cli.types import Document, Entity, Extraction

Genner = Callable[..., Run]
Scores = dict[str, float]


def extraction(text: str, scores: Scores) -> Extraction:
    return Extraction(Document(text), tuple(Entity(0, 1, label, text[:1], score) for label, score in scores.items()))


def chosen(many: list[tuple[str, Scores]], count: int, **options: Any) -> list[int]:
    sampler = Sampler(count, **options)
    for text, scores in many:
        sampler.note(extraction(text, scores))
    return [place.number for place in sampler.chosen()]


def test_each_label_gives_its_least_certain_document_in_turn() -> None:
    many = [("a", {"PER": 0.1}), ("b", {"PER": 0.2}), ("c", {"PER": 0.3}), ("d", {"LOC": 0.9}), ("e", {"LOC": 0.8})]
    assert chosen(many, 1) == [4], "labels come in the order of their names"
    assert chosen(many, 2) == [0, 4]
    assert chosen(many, 3) == [0, 4, 3]
    assert chosen(many, 4) == [0, 1, 4, 3]
    assert chosen(many, 9) == [0, 1, 2, 4, 3]


def test_a_document_counts_by_its_lowest_score() -> None:
    many = [("a", {"PER": 0.5, "LOC": 0.2}), ("b", {"PER": 0.3, "LOC": 0.9})]
    assert chosen(many, 2) == [0, 1]


def test_a_text_is_chosen_once_and_documents_without_scores_last() -> None:
    many = [("a", {}), ("b", {"PER": 0.9}), ("b", {"PER": 0.9}), ("a", {})]
    assert chosen(many, 9) == [1, 0]


def brute(many: list[tuple[str, Scores]], count: int) -> list[int]:
    """The same, with every document in memory."""
    queues = {}
    for label in sorted({label for _, scores in many for label in scores}):
        having = [(scores[label], at) for at, (_, scores) in enumerate(many) if label in scores]
        queues[label] = [at for _, at in sorted(having)]
    places: dict[str, int] = {}
    while any(queues.values()) and len(places) < count:
        for queue in queues.values():
            while queue and many[queue[0]][0] in places:
                queue.pop(0)
            if queue and len(places) < count:
                at = queue.pop(0)
                places[many[at][0]] = at
    return sorted(places.values(), key=lambda at: (min(many[at][1].values()), at))


scores = st.dictionaries(st.sampled_from(["PER", "LOC", "ORG"]), st.sampled_from([0.1, 0.2, 0.5, 1.0]), min_size=1)


@examples(400)
@given(st.lists(st.tuples(st.integers(0, 12), scores), max_size=30), st.integers(1, 12))
def test_bounded_memory_chooses_what_all_memory_would(drawn: list[tuple[int, Scores]], count: int) -> None:
    by_text = dict(reversed(drawn))  # the same text has the same scores
    many = [(f"text {number}", by_text[number]) for number, _ in drawn]
    assert chosen(many, count) == brute(many, count)
    sampler = Sampler(count)
    for text, each in many:
        sampler.note(extraction(text, each))
    assert all(len(best.heap) <= count for best in sampler._labels.values())


def test_a_random_sample_depends_on_the_seed_alone() -> None:
    many = [(f"text {number}", {"PER": number / 100}) for number in range(100)]
    samples = [chosen(many, 10, order=SampleOrder.RANDOM, seed=seed) for seed in (0, 0, 1)]
    assert samples[0] == samples[1] != samples[2]
    assert len(set(samples[0])) == 10
    reverse = chosen(many[::-1], 10, order=SampleOrder.RANDOM)
    assert [99 - number for number in reverse] == samples[0], "whatever the order of the documents"


# the command


def record(text: str, *entities: tuple[str, float | None]) -> dict[str, Any]:
    values = [
        {"start": 0, "end": 1, "label": label, "text": text[:1], **({} if score is None else {"score": score})}
        for label, score in entities
    ]
    return {"text": text, "source": "x", "entities": values}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_documents(
        tmp_path / "out.jsonl",
        [
            record("sure", ("PER", 0.99)),
            record("unsure", ("PER", 0.4)),
            record("place", ("LOC", 0.8)),
            {"text": "bad", "entities": [], "error": {"message": "x"}},
            record("nothing"),
            record("pattern", ("EMAIL", None)),
        ],
    )


def test_label_studio_gets_predictions_with_scores(genner: Genner, source: Path, tmp_path: Path) -> None:
    out = tmp_path / "tasks.json"
    run = genner("data", "sample", source, "--by", "score", "-n", 2, "--to", "label-studio", "-o", out)
    assert run.status == 0
    tasks = json.loads(out.read_text())
    assert [task["data"] for task in tasks] == [
        {"text": "unsure", "source": "x"}, {"text": "place", "source": "x"}
    ]  # fmt: skip
    (region,) = tasks[0]["predictions"][0]["result"]
    assert (region["value"]["labels"], region["score"]) == (["PER"], 0.4)
    for value in ("1 document with an error", "2 of 6 documents", "PER: 1 document"):
        assert value in run.stderr


def test_every_document_without_an_error_is_there_once_if_there_are_too_few(
    genner: Genner, source: Path, tmp_path: Path
) -> None:
    out = tmp_path / "more.jsonl"
    assert genner("data", "sample", source, "-n", 99, "-o", out).status == 0
    first = [each["text"] for each in records(out)]
    assert first[:3] == ["unsure", "place", "sure"]
    assert set(first[3:]) == {"nothing", "pattern"}
    before = out.read_bytes()
    assert genner("data", "sample", source, "-n", 99, "-o", out).status == 0
    assert out.read_bytes() == before


def test_what_cannot_be_sampled_is_refused(genner: Genner, source: Path, tmp_path: Path) -> None:
    unscored = write_documents(tmp_path / "gold.jsonl", [record("a", ("PER", None))])
    before = source.read_bytes()
    for arguments in (
        (unscored, "-o", tmp_path / "x.jsonl"),
        ("-", "-o", tmp_path / "x.jsonl"),
        (source, "-o", source),
    ):
        assert genner("data", "sample", *arguments).status == 2
    assert source.read_bytes() == before
    assert genner("data", "sample", unscored, "--by", "random", "-o", tmp_path / "x.jsonl").status == 0


def test_a_sample_of_what_the_model_found_can_be_converted_to_train_data(genner: Genner, tmp_path: Path) -> None:
    texts = write_documents(tmp_path / "in.jsonl", documents(12))
    out, tasks, back = (tmp_path / name for name in ("out.jsonl", "tasks.json", "back.jsonl"))
    assert genner("extract", texts, "--types", "PER,ORG,LOC", "-o", out).status == 0
    assert genner("data", "sample", out, "-n", 5, "--to", "label-studio", "-o", tasks).status == 0
    assert genner("data", "convert", tasks, back, "--from", "label-studio").status == 0
    found = {each["text"]: each["entities"] for each in records(out)}
    sampled = records(back)
    assert len(sampled) == 5
    assert all(
        [entity["text"] for entity in each["entities"]] == [entity["text"] for entity in found[each["text"]]]
        for each in sampled
    )
