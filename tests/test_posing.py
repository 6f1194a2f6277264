"""methods.posing: what a model is asked in its own prompt comes to its own scores; chat questions, word by word."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path

import pytest
from asking import instructions_of, news
from conftest import ONE_THREAD
from random_model import short_metadata, write_random_model
from short_vocabulary import NORMAL

from genner_cli.demonstrations import Demonstrations, Query
from genner_cli.demonstrations import Rendered as RenderedExamples
from genner_cli.engine.engine import Engine
from genner_cli.engine.model import Model
from genner_cli.extraction import extract
from genner_cli.formats import FORMATS, output_format
from genner_cli.generation import Answer, Continuation, Question
from genner_cli.methods.asking import answered, around
from genner_cli.methods.candidates import Candidate
from genner_cli.methods.posing import JUDGE_PROMPT, Asked, Passages, Rendered
from genner_cli.prompting import GENERAL_PROMPT, Demonstration, Turn
from genner_cli.tasks import Task
from genner_cli.types import Document, Label, Piece

LABELS = (Label("PER"), Label("ORG"), Label("LOC"))
FLASH = replace(ONE_THREAD, flash_attention=True)


def whole(text: str) -> Query:
    return Query(text, text)


def test_the_odds_of_what_a_model_found_are_those_of_its_score(bundled: Model) -> None:
    """Asked about its own entities, behind those before them, it says what it wrote; and it wrote no entity that is
    much less probable than none."""
    instructions = instructions_of(bundled)
    poser = Rendered.of_trained(instructions, LABELS)
    documents = [Document(text) for text in news()[:20]]
    with Engine(bundled, FLASH) as engine:
        found = list(extract(documents, Task.of(instructions, LABELS, depth=1), engine.generate))
        posed, scores = [], []
        for each in found:
            candidates = [Candidate(one.start, one.end, one.label) for one in each.entities]
            posed += [poser.odds(whole(each.document.text), one, candidates[:at]) for at, one in enumerate(candidates)]
            scores += [one.score for one in each.entities]
        questions = [question for each in posed for question in each.questions]
        answers = dict(engine.score(questions))
    assert len(scores) > 10
    for number, score in enumerate(scores):
        log_probability, of_others = answers[number].log_probabilities
        assert math.exp(log_probability) == pytest.approx(score, abs=0.02)
        assert math.exp(of_others) < 0.5 + 0.02


def test_an_entity_is_written_by_tokens_that_go_on_behind_it_too(tmp_path: Path) -> None:
    """`].` closes an entity as `]` does; where nothing else is legal, closing it is certain."""
    tokens, merges = (short_metadata()[f"tokenizer.ggml.{name}"][0] for name in ("tokens", "merges"))
    tokens = [*tokens[: NORMAL - 1], "].", *tokens[NORMAL:]]
    change = {"tokenizer.ggml.tokens": tokens, "tokenizer.ggml.merges": [*merges[:-1], "] ."]}
    completion, text = "a [b | X].", "a b."
    lock = output_format("bracketed").lock(text, ("X",), whole_words=True)
    asked = Continuation(lock, completion, completion.index("]"), completion.index("."))
    with Model(write_random_model(tmp_path / "model.gguf", change=change), gpu_layers=0) as model:
        assert model.plain(completion)[-1] == NORMAL - 1
        with Engine(model, ONE_THREAD) as engine:
            ((_, answer),) = engine.score([Question((), (Piece(text),), continuation=asked)])
    assert answer.log_probabilities == (pytest.approx(0, abs=1e-6), -math.inf)


def test_side_by_side_the_odds_are_those_of_one_alone(bundled: Model) -> None:
    poser = Rendered.of_trained(instructions_of(bundled), LABELS)
    posed = [
        poser.odds(whole(text), candidate)
        for text in news()[:6]
        for candidate in around(text, Candidate(0, len(text.split()[0]), "PER"))
    ]
    found = []
    for slots in (1, 7, 16):
        with Engine(bundled, replace(ONE_THREAD, slots=slots)) as engine:
            found.append(answered(posed, engine.score))
    assert found[0] == found[1] == found[2]
    assert None not in found[0]


def test_a_long_prompt_is_decoded_in_parts_to_the_same_odds(bundled: Model) -> None:
    poser = Rendered.of_trained(instructions_of(bundled), LABELS)
    text = " ".join(news()[:3])
    posed = [poser.odds(whole(text), Candidate(text.rindex(" ") + 1, len(text) - 1, "PER"))]
    with Engine(bundled, replace(ONE_THREAD, slots=4)) as engine:
        at_once = answered(posed, engine.score)
    with Engine(bundled, replace(ONE_THREAD, slots=4, batch_tokens=32)) as engine:
        assert answered(posed, engine.score) == [pytest.approx(at_once[0], abs=0.05)]


@pytest.mark.parametrize("format", list(FORMATS))
def test_every_output_format_can_be_asked(bundled: Model, format: str) -> None:
    poser = Rendered.of_trained(replace(instructions_of(bundled), format=format), LABELS)
    text = "Ada Lovelace met Bob."
    options = [(), (Candidate(0, 12, "PER"),), (Candidate(0, 3, "PER"), Candidate(4, 12, "ORG"))]
    posed = poser.choice(whole(text), options)
    assert posed is not None
    with Engine(bundled, ONE_THREAD) as engine:
        (scores,) = answered([posed], engine.score)
    assert scores is not None
    assert scores[0] == 0.0
    assert all(math.isfinite(score) for score in scores)


def test_what_a_format_cannot_say_is_not_asked(bundled: Model) -> None:
    json = Rendered.of_trained(replace(instructions_of(bundled), format="category"), LABELS)
    assert json.odds(whole("Adam and Ada"), Candidate(0, 2, "PER")) is None
    assert json.odds(whole("Ada saw Ada"), Candidate(8, 11, "PER")) is None
    assert json.odds(whole("Ada saw Ada"), Candidate(8, 11, "PER"), (Candidate(0, 3, "PER"),)) is not None


def test_a_label_that_the_model_does_not_list_is_asked_for_as_well(bundled: Model) -> None:
    posed = Rendered.of_trained(instructions_of(bundled), LABELS).odds(whole("Ada runs."), Candidate(0, 3, "runner"))
    assert posed is not None
    assert "runner" in posed.questions[0].prefix[1].text


def test_a_chat_question_says_mention_label_and_definition() -> None:
    asked = Asked(JUDGE_PROMPT, (Label("PER", "a person"),))
    posed = asked.odds(whole("Ada met Bob."), Candidate(8, 11, "PER"))
    question = 'Is "Bob" an entity with the label PER (a person)? Answer yes or no.'
    assert [each.rest[0].text for each in posed.questions] == [
        f"Ada met Bob.\n\nQuestion: {question}",
        f"\n\nQuestion: {question.replace('Bob', 'N/A')}",
    ]
    assert not any(each.rest[0].literal for each in posed.questions)


def test_the_place_of_an_option_does_not_count() -> None:
    """A model that prefers whatever is second gives all options the same score."""
    options = [(Candidate(0, 3, "PER"),), (Candidate(8, 11, "PER"),), ()]
    posed = Asked(JUDGE_PROMPT).choice(whole("Ada met Bob."), options[:2])
    assert posed is not None
    scores = posed.read([Answer((-3.0, -0.1)), Answer((-3.0, -0.1))])
    assert scores[0] == scores[1]
    assert (
        "nothing here is an entity"
        in Asked(JUDGE_PROMPT).choice(whole("Ada met Bob."), options).questions[0].rest[0].text
    )
    assert Asked(JUDGE_PROMPT).choice(whole("Ada"), [()] * 10) is None


def test_control_tokens_of_a_document_are_characters(bundled: Model) -> None:
    """A document cannot end the user's turn."""
    posed = Asked(JUDGE_PROMPT).odds(whole("<|im_end|>\n⟦Ada⟧"), Candidate(11, 16, "PER"))
    ids = bundled.prompt(posed.questions[0].rest)
    assert not set(ids) & {*bundled.end_ids, *bundled.vocabulary.added.values()}


def test_passages_are_whole_sentences_around_a_candidate() -> None:
    text = " ".join(f"Sentence number {number} is here." for number in range(100))
    passages = Passages(text, 200)
    for start in (match.start() for match in re.finditer("number", text)):
        chunk = passages.of(start, start + 5)
        assert chunk is not None
        assert chunk.text[start - chunk.start : start - chunk.start + 5] == text[start : start + 5]
        assert len(chunk.text.encode()) <= 200
    assert passages.of(0, 300) is None
    assert Passages(" ", 200).of(0, 1) is None


def test_boundaries_around_a_candidate() -> None:
    text = "in New York City, now"
    spans = {text[each.start : each.end] for each in around(text, Candidate(3, 11, "LOC"))}
    assert spans == {
        "New York", "in New York", "York", "New", "in New", "New York City", "in New York City", "York City",
    }  # fmt: skip


def test_chat_questions_go_through_the_engine_alike_in_any_batch(bundled: Model) -> None:
    """A model without a chat template is asked in plain text."""
    asked = Asked(JUDGE_PROMPT, LABELS)
    posed = []
    for text in news()[:5]:
        spans = around(text, Candidate(0, len(text.split()[0]), "PER"))
        posed += [asked.odds(whole(text), spans[0]), asked.label(whole(text), spans[0], LABELS)]
        posed.append(asked.choice(whole(text), [(span,) for span in spans]))
    found = []
    for slots in (1, 16):
        with Engine(bundled, replace(ONE_THREAD, slots=slots)) as engine:
            found.append(answered(posed, engine.score))
    assert found[0] == found[1]
    for scores in found[0]:
        assert scores is not None
        assert all(math.isfinite(score) for score in scores)
    assert [len(scores or ()) for scores in found[0][:2]] == [1, len(LABELS)]


def general(*shown: str) -> Task:
    """The task of a model that genner did not train, which is shown these texts without entities."""
    prompts = tuple(replace(GENERAL_PROMPT, turns=(Turn(" -> ", "; "),) * count) for count in range(3))
    fixed = tuple(Demonstration(text, text) for text in shown)
    invented = RenderedExamples("bracketed", ("PER", "ORG")).invented()
    return Task(LABELS, prompts[0], "bracketed", demonstrations=(Demonstrations(prompts, invented, fixed),))


def written(question: Question) -> str:
    assert question.continuation
    prompt = "".join(piece.text for piece in (*question.prefix, *question.rest))
    return prompt + question.continuation.completion[: question.continuation.start]


def test_the_inclination_to_a_label_is_subtracted_behind_the_same_examples() -> None:
    poser = Rendered(LABELS, lambda labels: general("It rained.", "It snowed."), passage_bytes=1000, inclination=True)
    posed = poser.odds(whole("Ada met Bob."), Candidate(8, 11, "PER"), (Candidate(0, 3, "ORG"),))
    assert posed
    own, nothing = posed.questions
    assert own.prefix == nothing.prefix
    examples = written(own).partition("Ada met")[0]
    assert written(nothing).startswith(examples)
    assert [examples.count(each) for each in ("It rained. -> It rained.", "It snowed. -> It snowed.")] == [1, 1]
    assert "[Ada | ORG] met " in written(own).rpartition("Answer")[2]
    assert "N/A" in written(nothing)
    assert posed.read([Answer((-2.0, -0.5)), Answer((-5.0, -0.25))]) == (pytest.approx(-1.5 - -4.75),)


def test_each_candidate_of_an_option_has_its_own_inclination() -> None:
    poser = Rendered(LABELS, lambda labels: general(), passage_bytes=1000, inclination=True)
    options = [(Candidate(0, 3, "PER"), Candidate(8, 11, "ORG")), (), (Candidate(8, 11, "PER"),)]
    posed = poser.choice(whole("Ada met Bob."), options)
    assert posed
    assert len(posed.questions) == 6
    answers = [Answer((float(-number), 0.0)) for number in (2, 5, 3, 9, 4, 5)]
    assert posed.read(answers) == (3.0 + 6.0, 0, 1.0)
    assert "There is some PER" in "".join(piece.text for piece in posed.questions[0].prefix)  # nothing else to show


def test_an_example_that_is_the_text_or_its_document_is_not_shown() -> None:
    poser = Rendered(LABELS, lambda labels: general("It rained.", "Ada met  Bob."), passage_bytes=1000)
    for passage in (whole("Ada met Bob."), Query("Ada met Bob.", "Bob.")):
        posed = poser.odds(passage, Candidate(0, 3, "PER"))
        assert posed
        (question,) = posed.questions
        before = "".join(piece.text for piece in question.prefix)
        assert ("It rained." in before, "Ada met" in before) == (True, False)


def test_which_label_is_asked_with_the_labels_of_the_question_alone() -> None:
    """Down a tree, each level is a list of labels of its own."""
    asked: list[tuple[str, ...]] = []

    def task_of(labels: tuple[Label, ...]) -> Task:
        asked.append(tuple(label.name for label in labels))
        return replace(general(), labels=labels)

    poser = Rendered(LABELS, task_of, passage_bytes=1000, inclination=True)
    level = (Label("place"), Label("thing"))
    for start in (0, 8):
        posed = poser.label(whole("Ada met Bob."), Candidate(start, start + 3, ""), level)
        assert posed
        assert len(posed.questions) == 4
    poser.odds(whole("Ada met Bob."), Candidate(0, 3, "MISC"))
    assert asked == [("PER", "ORG", "LOC"), ("place", "thing"), ("PER", "ORG", "LOC", "MISC")]
