"""running.judging: planted models, whose errors are known, come to what they must come to."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import orjson
import pytest
from scripted_judges import Knows, broken, of_score, voter

from genner_cli.demonstrations import Query
from genner_cli.errors import UsageError
from genner_cli.generation import Answer, Question
from genner_cli.methods.candidates import VALID, Candidate
from genner_cli.methods.posing import JUDGE_PROMPT, Asked, Option, Posed
from genner_cli.methods.ruling import Ruling
from genner_cli.running.ensembles import choose
from genner_cli.running.judging import Voter, candidates_of, judge, proposals, stages
from genner_cli.running.rewriting import Done, Files
from genner_cli.types import Document, Entity, Label, LabelNode, LabelTree

PLAIN = Ruling()
TEXT = "Ada Lovelace of Acme met Bob in New York City."
GOLD = {("Ada Lovelace", "PER"), ("Acme", "ORG"), ("Bob", "PER"), ("New York City", "LOC")}


def entity(mention: str, label: str, text: str = TEXT, **more: Any) -> dict[str, Any]:
    start = text.index(mention)
    return {"start": start, "end": start + len(mention), "label": label, "text": mention, **more}


def write(path: Path, *pairs: tuple[str, str], text: str = TEXT, copies: int = 1) -> str:
    entities = [entity(mention, label, text) for mention, label in pairs]
    texts = [text, *(f"{text} Again, {number}." for number in range(1, copies))]
    records = [{"id": number, "text": each, "note": "kept", "entities": entities} for number, each in enumerate(texts)]
    path.write_bytes(b"".join(orjson.dumps(each) + b"\n" for each in records))
    return str(path)


def run(
    paths: Sequence[str], asks: Sequence[str], voters: Sequence[Voter] | Mapping[str, Sequence[Voter]],
    output: Path, ruling: Ruling = PLAIN, **options: Any,
) -> list[dict[str, Any]]:  # fmt: skip
    judged(paths, asks, voters, output, ruling, **options)
    return [orjson.loads(line) for line in output.read_bytes().splitlines()]


def judged(
    paths: Sequence[str], asks: Sequence[str], voters: Sequence[Voter] | Mapping[str, Sequence[Voter]],
    output: Path, ruling: Ruling = PLAIN, **options: Any,
) -> Done:  # fmt: skip
    names = [Path(path).stem for path in paths]
    by_ask = voters if isinstance(voters, Mapping) else dict.fromkeys(asks, voters)
    return judge(Files(inputs=tuple(paths), output=str(output), **options), names, stages(asks, by_ask), ruling)


def mentions(record: dict[str, Any]) -> set[tuple[str, str]]:
    return {(each["text"], each["label"]) for each in record["entities"]}


def knowing(*wrong: tuple[str, str], but: Sequence[tuple[str, str]] = ()) -> Knows:
    """A model that knows the gold entities, but for some, and holds some wrong ones for right."""
    believed = (GOLD | set(wrong)) - set(but)
    return lambda passage, mention, label: (mention, label) in believed


@pytest.fixture
def three(tmp_path: Path) -> tuple[list[str], list[Voter]]:
    """One that invents, one that shortens, one that mistypes: as extractors and as voters."""
    inputs = [
        write(tmp_path / "invents.jsonl", *GOLD, ("met", "PER")),
        write(tmp_path / "shortens.jsonl", *(GOLD - {("New York City", "LOC")}), ("New York", "LOC")),
        write(tmp_path / "mistypes.jsonl", *(GOLD - {("Acme", "ORG")}), ("Acme", "PER")),
    ]
    voters = [
        voter("invents", knowing(("met", "PER"))),
        voter("shortens", knowing(("New York", "LOC"), but=[("New York City", "LOC")])),
        voter("mistypes", knowing(("Acme", "PER"), but=[("Acme", "ORG")])),
    ]
    return inputs, voters


def test_the_votes_of_three_undo_the_errors_of_each(three: tuple[list[str], list[Voter]], tmp_path: Path) -> None:
    inputs, voters = three
    (record,) = run(inputs, ("valid", "overlap"), voters, tmp_path / "out.jsonl")
    assert mentions(record) == GOLD
    assert record["note"] == "kept"
    acme = next(each for each in record["entities"] if each["text"] == "Acme")
    assert acme["sources"] == ["invents", "shortens"]
    assert {name: answer > 0 for name, answer in acme["votes"]["valid"].items()} == {
        "invents": True,
        "shortens": True,
        "mistypes": False,
    }


def test_a_broken_model_costs_its_votes_and_not_the_run(three: tuple[list[str], list[Voter]], tmp_path: Path) -> None:
    inputs, voters = three
    (record,) = run(inputs, ("valid",), [*voters, broken("broken")], tmp_path / "out.jsonl")
    assert mentions(record) == GOLD - {("New York City", "LOC"), ("Acme", "ORG")}  # 2 of 4 are no majority
    votes = [each["votes"]["valid"]["broken"] for each in record["entities"]]
    assert votes == [None] * len(votes)


def test_one_that_cannot_answer_counts_as_no(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", *GOLD)
    sound = voter("sound", knowing())
    (record,) = run([path], ("valid",), [sound, voter("mute", knowing(), fails=True)], tmp_path / "out.jsonl")
    assert record["entities"] == []


def test_random_voters_keep_precision_and_halve_recall(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", *GOLD, ("met", "PER"), ("of", "ORG"), copies=200)
    for seed in range(3):
        rng = random.Random(seed)
        coins = [voter(name, lambda *_, rng=rng: rng.random() < 0.5) for name in "xyz"]
        records = run([path], ("valid",), coins, tmp_path / f"out{seed}.jsonl")
        kept = [pair for record in records for pair in mentions(record)]
        right = sum(pair in GOLD for pair in kept)
        assert right / len(kept) == pytest.approx(4 / 6, abs=0.05)
        assert right / 800 == pytest.approx(0.5, abs=0.05)


def test_a_verifier_keeps_what_is_above_its_threshold(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", *GOLD)
    planted = {"Ada Lovelace": 2.0, "Acme": 0.5, "Bob": -0.5, "New York City": -2.0}

    def score(questions: Any) -> Any:
        for number, question in enumerate(questions):
            passage, _, asked = question.rest[0].text.partition("\n\nQuestion: ")
            odds = planted[asked.split('"')[1]] if passage else 0.0
            yield number, Answer((odds - 1, odds - 1, -1.0, -1.0))

    for threshold in (-1.0, 0.0, 1.0, 9.0):
        ruling = Ruling(thresholds={"m": threshold})
        (record,) = run([path], ("valid",), [of_score("m", score)], tmp_path / f"out{threshold}.jsonl", ruling)
        assert {text for text, _ in mentions(record)} == {name for name, odds in planted.items() if odds > threshold}


def test_an_inclination_to_yes_is_subtracted(tmp_path: Path) -> None:
    """A model that says yes to everything, and to real entities a little more."""
    path = write(tmp_path / "a.jsonl", *GOLD, ("met", "PER"))

    def score(questions: Any) -> Any:
        for number, question in enumerate(questions):
            passage, _, asked = question.rest[0].text.partition("\n\nQuestion: ")
            odds = 5.0 + (0.3 if asked.split('"')[1] != "met" else -0.3) * bool(passage)
            yield number, Answer((odds, odds, 0.0, 0.0))

    (record,) = run([path], ("valid",), [of_score("m", score)], tmp_path / "out.jsonl")
    assert mentions(record) == GOLD


def test_labels_by_vote_then_verified(tmp_path: Path) -> None:
    """EL4NER: spans, a vote on their labels, and one verifier."""
    spans = {mention for mention, _ in GOLD} | {"met"}
    path = write(tmp_path / "spans.jsonl", *((mention, "entity") for mention in spans))
    labels = (Label("PER"), Label("ORG"), Label("LOC"))
    wrong = [("Acme", "PER")]
    mistypes = voter("mistypes", knowing(*wrong, but=[("Acme", "ORG")]), labels)
    voters = [voter("one", knowing(), labels), voter("two", knowing(), labels), mistypes]
    by_ask = {"label": voters, "valid": voters[:1]}
    ruling = Ruling(tree=LabelTree.flat(labels))
    (record,) = run([path], ("label", "valid"), by_ask, tmp_path / "out.jsonl", ruling)
    assert mentions(record) == GOLD


def test_boundaries_move_by_a_word(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", ("New York", "LOC"), ("met Bob", "PER"))
    (record,) = run([path], ("boundary",), [voter("m", knowing())], tmp_path / "out.jsonl")
    assert mentions(record) == {("New York City", "LOC"), ("Bob", "PER")}


def test_of_two_answers_the_oracle_is_chosen_by_one_who_knows(tmp_path: Path) -> None:
    without = write(tmp_path / "without.jsonl", ("Ada Lovelace", "PER"), ("Acme", "PER"), ("met", "PER"))
    with_ = write(tmp_path / "with.jsonl", ("Ada", "PER"), ("Acme", "ORG"), ("Bob", "PER"))
    for inputs in ([without, with_], [with_, without]):
        output = tmp_path / f"{Path(inputs[0]).stem}-first.jsonl"
        ruling = Ruling(sources=tuple(Path(path).stem for path in inputs))
        (record,) = run(inputs, ("best",), [voter("m", knowing())], output, ruling)
        assert mentions(record) == {("Ada Lovelace", "PER"), ("Acme", "ORG"), ("Bob", "PER")}


def test_one_who_always_says_the_first_decides_nothing(tmp_path: Path) -> None:
    def score(questions: Any) -> Any:
        for number, question in enumerate(questions):
            yield number, Answer(tuple(-float(at) for at, _ in enumerate(question.options)))

    one = write(tmp_path / "one.jsonl", ("Ada Lovelace", "PER"), ("Acme", "PER"))
    two = write(tmp_path / "two.jsonl", ("Ada", "PER"), ("Bob", "PER"))
    found = []
    for inputs in ([one, two], [two, one]):
        ruling = Ruling(sources=tuple(Path(path).stem for path in inputs))
        (record,) = run(inputs, ("best",), [of_score("m", score)], tmp_path / f"{len(found)}.jsonl", ruling)
        found.append(mentions(record))
    assert found[0] == found[1] == {("Ada Lovelace", "PER"), ("Acme", "PER"), ("Bob", "PER")}


def test_whole_answers(tmp_path: Path) -> None:
    one = write(tmp_path / "one.jsonl", *GOLD)
    two = write(tmp_path / "two.jsonl", ("met", "PER"), ("Bob", "PER"))
    ruling = Ruling(sources=("one", "two"), whole=True)
    (record,) = run([one, two], ("best",), [voter("m", knowing())], tmp_path / "out.jsonl", ruling)
    assert mentions(record) == GOLD


def test_a_failed_record_of_one_source_costs_its_proposals(tmp_path: Path) -> None:
    one = write(tmp_path / "one.jsonl", *GOLD)
    failed = tmp_path / "failed.jsonl"
    failed.write_bytes(orjson.dumps({"id": 0, "text": TEXT, "entities": [], "error": {"message": "too slow"}}))
    (record,) = run([one, str(failed)], ("valid",), [voter("m", knowing())], tmp_path / "out.jsonl")
    assert mentions(record) == GOLD
    done = judged([str(failed)], ("valid",), [voter("m", knowing())], tmp_path / "failed-out.jsonl")
    assert done.ledger.failed == 1
    assert orjson.loads((tmp_path / "failed-out.jsonl").read_bytes())["error"] == {"message": "too slow"}


def test_a_record_of_one_source_that_cannot_be_read_fails_its_document(tmp_path: Path) -> None:
    one = write(tmp_path / "one.jsonl", *GOLD)
    input_file = tmp_path / "docs.jsonl"
    input_file.write_bytes(orjson.dumps({"id": 0, "text": TEXT}))
    done = judged([one, str(input_file)], ("valid",), [voter("m", knowing())], tmp_path / "out.jsonl")
    assert done.ledger.failed == 1
    assert "docs.jsonl:1" in orjson.loads((tmp_path / "out.jsonl").read_bytes())["error"]["message"]


@pytest.mark.parametrize("copies", [1, 3])
def test_inputs_of_different_documents_are_refused(tmp_path: Path, copies: int) -> None:
    one = write(tmp_path / "one.jsonl", *GOLD, copies=2)
    other = write(tmp_path / "other.jsonl", copies=copies)
    with pytest.raises(UsageError):
        run([one, other], ("valid",), [voter("m", knowing())], tmp_path / "out.jsonl")
    shifted = write(tmp_path / "shifted.jsonl", text="Another text", copies=2)
    with pytest.raises(UsageError):
        list(proposals([one, shifted], ["a", "b"], Files(inputs=(one,)), lambda count: None))


def test_what_a_stage_writes_is_read_back_as_it_was(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", *GOLD)
    (record,) = run([path], ("valid",), [voter("m", knowing())], tmp_path / "out.jsonl")
    found = candidates_of(Document(TEXT, fields=record))
    assert [each.votes for each in found] == [each["votes"] for each in record["entities"]]
    assert [each.sources for each in found] == [("a",)] * len(found)


def test_killed_anywhere_it_resumes_to_the_same_bytes(tmp_path: Path) -> None:
    """A run is stopped in each stage, after each batch, and the same call goes on."""
    one = write(tmp_path / "one.jsonl", *GOLD, ("met", "PER"), copies=300)
    two = write(tmp_path / "two.jsonl", ("New York", "LOC"), copies=300)
    voters = [voter("m", knowing()), voter("n", knowing(("met", "PER")))]
    whole = tmp_path / "whole.jsonl"
    run([one, two], ("valid", "overlap"), voters, whole)

    class Killed(Exception):
        pass

    asked = 0
    for limit in (1, 1000, 1300, 1500):
        asked = 0

        def killing(inner: Voter, limit: int = limit) -> Voter:
            with inner.open(VALID) as opened:

                def score(questions: Any) -> Any:
                    nonlocal asked
                    for each in opened.score(questions):
                        asked += 1
                        if asked > limit:
                            raise Killed
                        yield each

                return of_score(inner.name, score, poser=opened.poser)

        with pytest.raises(Killed):
            run([one, two], ("valid", "overlap"), [killing(each) for each in voters], tmp_path / "out.jsonl")
    run([one, two], ("valid", "overlap"), voters, tmp_path / "out.jsonl")
    assert (tmp_path / "out.jsonl").read_bytes() == whole.read_bytes()


def test_other_voters_are_refused_where_a_run_is_resumed(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", *GOLD)
    run([path], ("valid",), [voter("m", knowing())], tmp_path / "out.jsonl")
    assert judged([path], ("valid",), [voter("m", knowing())], tmp_path / "out.jsonl").complete
    with pytest.raises(UsageError, match="model's name"):
        run([path], ("valid",), [voter("n", knowing())], tmp_path / "out.jsonl")
    run([path], ("valid",), [voter("n", knowing())], tmp_path / "out.jsonl", restart=True)


def test_models_of_the_same_file_name_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", *GOLD)
    names = [str(tmp_path / folder / "model") for folder in ("one", "two")]
    (record,) = run([path], ("valid",), [voter(name, knowing()) for name in names], tmp_path / "out.jsonl")
    assert all(list(each["votes"]["valid"]) == names for each in record["entities"])


@pytest.mark.parametrize("change", ["order", "stop"])
def test_another_tree_of_labels_is_refused_where_a_run_is_resumed(tmp_path: Path, change: str) -> None:
    path = write(tmp_path / "a.jsonl", *GOLD)
    top = LabelNode(Label("ORG"), (LabelNode(Label("firm")),), stop=change == "stop")
    nodes = (LabelNode(Label("PER")), replace(top, stop=False))
    other = (nodes[0], top) if change == "stop" else nodes[::-1]
    rulings = [Ruling(tree=LabelTree(each)) for each in (nodes, other)]
    run([path], ("label",), [voter("m", knowing())], tmp_path / "out.jsonl", rulings[0])
    with pytest.raises(UsageError, match="labels to choose from"):
        run([path], ("label",), [voter("m", knowing())], tmp_path / "out.jsonl", rulings[1])


def test_a_question_is_asked_once_for_each_candidate_and_once_about_nothing_for_each_label(tmp_path: Path) -> None:
    seen: list[Question] = []
    plain = voter("m", knowing())
    with plain.open(VALID) as opened:

        def score(questions: Any) -> Any:
            def noted() -> Any:
                for each in questions:
                    seen.append(each)
                    yield each

            yield from opened.score(noted())

    path = write(tmp_path / "a.jsonl", *GOLD, copies=3)
    run([path], ("valid",), [of_score("m", score)], tmp_path / "out.jsonl")
    assert len(seen) == 3 * len(GOLD) + len({label for _, label in GOLD})
    assert len({question.prefix for question in seen}) == 1


def test_only_labels_of_the_tree_are_judged_where_they_limit_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tree = LabelTree((LabelNode(Label("PER"), aliases=("ORG",)),))
    path, output = write(tmp_path / "a.jsonl", *GOLD, ("met", "MISC")), tmp_path / "out.jsonl"
    believes = voter("m", knowing(("met", "MISC"), ("Acme", "PER")))
    with caplog.at_level("WARNING", "genner"):
        (record,) = run([path], ("valid",), [believes], output, Ruling(tree=tree, limit=True))
    assert mentions(record) == {(mention, "PER") for mention, label in GOLD if label in ("PER", "ORG")}
    assert "2 entities" in caplog.text
    assert "LOC (1), MISC (1)" in caplog.text or "MISC (1), LOC (1)" in caplog.text
    with pytest.raises(UsageError, match="labels that are judged"):
        run([path], ("valid",), [believes], output)
    (record,) = run([path], ("valid",), [believes], output, Ruling(tree=tree), restart=True)
    assert mentions(record) == GOLD | {("met", "MISC")}


def test_records_that_failed_are_judged_once_they_are_corrected(tmp_path: Path) -> None:
    path, output = write(tmp_path / "a.jsonl", *GOLD, copies=3), tmp_path / "out.jsonl"
    right = Path(path).read_bytes().splitlines(keepends=True)
    failed = {"id": 1, "text": orjson.loads(right[1])["text"], "entities": [], "error": {"message": "too slow"}}
    Path(path).write_bytes(right[0] + orjson.dumps(failed) + b"\n" + right[2])
    voters = [voter("m", knowing()), voter("n", knowing())]
    assert judged([path], ("valid",), voters, output).ledger.failed == 1
    first = output.read_bytes().splitlines()
    Path(path).write_bytes(b"".join(right))
    with pytest.raises(UsageError, match="--retry-errors"):
        judged([path], ("valid",), voters, output)
    done = judged([path], ("valid",), voters, output, retry_errors=True)
    assert (done.ledger.documents, done.ledger.failed, done.documents) == (3, 0, 1)
    again = output.read_bytes().splitlines()
    assert (again[0], again[2]) == (first[0], first[2])
    assert mentions(orjson.loads(again[1])) == GOLD
    assert judged([path], ("valid",), voters, output, retry_errors=True).complete
    with pytest.raises(UsageError, match="-"):
        judged(["-"], ("valid",), voters, output, retry_errors=True)


class Noting(Asked):
    """Notes what is asked about, and behind which other candidates."""

    seen: ClassVar[list[tuple[str, tuple[int, int, str], tuple[tuple[int, int, str], ...]]]] = []

    def odds(self, passage: Query, candidate: Candidate, before: Option = (), /) -> Posed | None:
        self.seen.append((passage.text, candidate.key, tuple(each.key for each in before)))
        return Asked.odds(self, passage, candidate, before)


def test_models_are_asked_the_same_where_roles_are_chosen_and_where_they_are_used(tmp_path: Path) -> None:
    """One of the files has wrong entities that would be shown before those of the other."""
    inputs = [
        write(tmp_path / "good.jsonl", *GOLD, ("met", "PER"), copies=3),
        write(tmp_path / "bad.jsonl", ("of", "ORG"), ("in", "LOC"), copies=3),
    ]
    gold = tuple(
        Document(
            value["text"], str(value["id"]), tuple(Entity(**entity(*pair, value["text"])) for pair in sorted(GOLD))
        )
        for value in map(orjson.loads, Path(inputs[0]).read_bytes().splitlines())
    )
    names = ("m", "n")

    def noting(name: str) -> Voter:
        with voter(name, knowing()).open(VALID) as opened:
            return of_score(name, opened.score, poser=Noting(JUDGE_PROMPT))

    Noting.seen.clear()
    files = Files(inputs=tuple(inputs), output=str(tmp_path / "roles.json"))
    roles = choose(gold, files, ["good", "bad"], [noting(name) for name in names], PLAIN)
    assert (roles.extractors, roles.voters, roles.measured["f1"]) == (("good",), ("m",), 1.0)
    chosen = list(Noting.seen)
    assert any("of" in passage[start:end] for passage, (start, end, _), _ in chosen)
    Noting.seen.clear()
    ruling = Ruling(thresholds=roles.thresholds)
    found = judge(
        Files(inputs=(inputs[0],), output=str(tmp_path / "out.jsonl")), ["good"],
        stages(("valid",), {"valid": [noting("m")]}), ruling,
    )  # fmt: skip
    assert found.ledger.failed == 0
    assert len(Noting.seen) == 15
    assert chosen[-15:] == Noting.seen
    assert not set(Noting.seen) <= set(chosen[:-15])  # where all files are candidates, others are shown before
    assert [mentions(orjson.loads(line)) for line in (tmp_path / "out.jsonl").read_bytes().splitlines()] == [GOLD] * 3
