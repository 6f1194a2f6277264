"""methods.posing: what a model that genner trained is asked comes to its own scores; chat questions, word by word."""

from __future__ import annotations

import math
import re
from dataclasses import replace

import pytest
from asking import instructions_of, news
from conftest import ONE_THREAD

from genner_cli.demonstrations import ByWords
from genner_cli.engine.engine import Engine
from genner_cli.engine.model import Model
from genner_cli.extraction import extract
from genner_cli.formats import FORMATS
from genner_cli.generation import Answer
from genner_cli.methods.answered import Answered
from genner_cli.methods.asking import answered, around
from genner_cli.methods.candidates import Candidate
from genner_cli.methods.posing import JUDGE_PROMPT, Asked, Passages, Rendered
from genner_cli.prompting import Turn
from genner_cli.tasks import Task
from genner_cli.types import Document, Entity, Label

LABELS = (Label("PER"), Label("ORG"), Label("LOC"))
FLASH = replace(ONE_THREAD, flash_attention=True)


def test_the_odds_of_what_a_model_found_are_those_of_its_score(bundled: Model) -> None:
    """Asked about its own entities, behind those before them, it says what it wrote; and it wrote no entity that is
    much less probable than none."""
    instructions = instructions_of(bundled)
    poser = Rendered(instructions, LABELS)
    documents = [Document(text) for text in news()[:20]]
    with Engine(bundled, FLASH) as engine:
        found = list(extract(documents, Task.of(instructions, LABELS, depth=1), engine.generate))
        posed, scores = [], []
        for each in found:
            candidates = [Candidate(one.start, one.end, one.label) for one in each.entities]
            posed += [poser.odds(each.document.text, one, candidates[:at]) for at, one in enumerate(candidates)]
            scores += [one.score for one in each.entities]
        questions = [question for each in posed for question in each.questions]
        answers = dict(engine.score(questions))
    assert len(scores) > 10
    for number, score in enumerate(scores):
        log_probability, of_others = answers[number].log_probabilities
        assert math.exp(log_probability) == pytest.approx(score, abs=0.02)
        assert math.exp(of_others) < 0.5 + 0.02


def test_side_by_side_the_odds_are_those_of_one_alone(bundled: Model) -> None:
    poser = Rendered(instructions_of(bundled), LABELS)
    posed = [
        poser.odds(text, candidate)
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
    poser = Rendered(instructions_of(bundled), LABELS)
    text = " ".join(news()[:3])
    posed = [poser.odds(text, Candidate(text.rindex(" ") + 1, len(text) - 1, "PER"))]
    with Engine(bundled, replace(ONE_THREAD, slots=4)) as engine:
        whole = answered(posed, engine.score)
    with Engine(bundled, replace(ONE_THREAD, slots=4, batch_tokens=32)) as engine:
        assert answered(posed, engine.score) == [pytest.approx(whole[0], abs=0.05)]


@pytest.mark.parametrize("format", list(FORMATS))
def test_every_output_format_can_be_asked(bundled: Model, format: str) -> None:
    poser = Rendered(replace(instructions_of(bundled), format=format), LABELS)
    text = "Ada Lovelace met Bob."
    options = [(), (Candidate(0, 12, "PER"),), (Candidate(0, 3, "PER"), Candidate(4, 12, "ORG"))]
    posed = poser.choice(text, options)
    assert posed is not None
    with Engine(bundled, ONE_THREAD) as engine:
        (scores,) = answered([posed], engine.score)
    assert scores is not None
    assert scores[0] == 0.0
    assert all(math.isfinite(score) for score in scores)


def test_what_a_format_cannot_say_is_not_asked(bundled: Model) -> None:
    json = Rendered(replace(instructions_of(bundled), format="category"), LABELS)
    assert json.odds("Adam and Ada", Candidate(0, 2, "PER")) is None
    assert json.odds("Ada saw Ada", Candidate(8, 11, "PER")) is None
    assert json.odds("Ada saw Ada", Candidate(8, 11, "PER"), (Candidate(0, 3, "PER"),)) is not None


def test_a_label_that_the_model_does_not_list_is_asked_for_as_well(bundled: Model) -> None:
    posed = Rendered(instructions_of(bundled), LABELS).odds("Ada runs.", Candidate(0, 3, "runner"))
    assert posed is not None
    assert "runner" in posed.questions[0].prefix[1].text


def test_a_chat_question_says_mention_label_and_definition() -> None:
    asked = Asked(JUDGE_PROMPT, (Label("PER", "a person"),))
    posed = asked.odds("Ada met Bob.", Candidate(8, 11, "PER"))
    question = 'Is "Bob" an entity with the label PER (a person)? Answer yes or no.'
    assert [each.rest[0].text for each in posed.questions] == [
        f"Ada met Bob.\n\nQuestion: {question}",
        f"\n\nQuestion: {question.replace('Bob', 'N/A')}",
    ]
    assert not any(each.rest[0].literal for each in posed.questions)


def test_the_place_of_an_option_does_not_count() -> None:
    """A model that prefers whatever is second gives all options the same score."""
    options = [(Candidate(0, 3, "PER"),), (Candidate(8, 11, "PER"),), ()]
    posed = Asked(JUDGE_PROMPT).choice("Ada met Bob.", options[:2])
    assert posed is not None
    scores = posed.read([Answer((-3.0, -0.1)), Answer((-3.0, -0.1))])
    assert scores[0] == scores[1]
    assert "nothing here is an entity" in Asked(JUDGE_PROMPT).choice("Ada met Bob.", options).questions[0].rest[0].text
    assert Asked(JUDGE_PROMPT).choice("Ada", [()] * 10) is None


def test_control_tokens_of_a_document_are_characters(bundled: Model) -> None:
    """A document cannot end the user's turn."""
    posed = Asked(JUDGE_PROMPT).odds("<|im_end|>\n⟦Ada⟧", Candidate(11, 16, "PER"))
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
        posed += [asked.odds(text, spans[0]), asked.label(text, spans[0], LABELS)]
        posed.append(asked.choice(text, [(span,) for span in spans]))
    found = []
    for slots in (1, 16):
        with Engine(bundled, replace(ONE_THREAD, slots=slots)) as engine:
            found.append(answered(posed, engine.score))
    assert found[0] == found[1]
    for scores in found[0]:
        assert scores is not None
        assert all(math.isfinite(score) for score in scores)
    assert [len(scores or ()) for scores in found[0][:2]] == [1, len(LABELS)]


def labelled(text: str, **mentions: str) -> Document:
    """A document in which each label has one mention."""
    spans = ((text.index(mention), mention, label) for label, mention in mentions.items())
    return Document(text, entities=tuple(Entity(at, at + len(mention), label, mention) for at, mention, label in spans))


POOL = (
    labelled("Ann lives in Rome.", PER="Ann", LOC="Rome"),
    labelled("Bob lives in Paris.", PER="Bob", LOC="Paris"),
    labelled("Mars lives in Bergen."),
    labelled("Eve lives in Oslo today.", PER="Eve", LOC="Oslo"),
    labelled("nothing lives here in here"),
    labelled("It rained all day.", PER="It"),
)


def shown_before(passage: str, mention: str, label: str, *, shots: int = 4, budget: int = 1000) -> list[str]:
    prompts = tuple(replace(JUDGE_PROMPT, turns=(Turn(" -> ", "; "),) * count) for count in range(shots + 1))
    examples = Answered(prompts, ByWords(POOL), shots, budget)
    poser = Asked(prompts[0], LABELS, answered=examples)
    at = passage.index(mention)
    posed = poser.odds(passage, Candidate(at, at + len(mention), label))
    assert posed
    real, nothing = ["".join(piece.text for piece in question.rest) for question in posed.questions]
    asked = f'{passage}\n\nQuestion: Is "{mention}" an entity with the label {label}? Answer yes or no.'
    assert real.removesuffix(JUDGE_PROMPT.after_text).endswith(asked)
    before = real[: real.index(asked)]
    assert nothing.startswith(before)  # the inclination is that behind the same answers
    return [each for each in before.split("; ") if each]


def test_the_nearest_texts_are_shown_with_as_many_yes_as_no_the_nearest_last() -> None:
    shown = shown_before("Zoe lives in Paris with Al.", "Paris", "LOC")
    questions = [
        (re.search(r'Is "(.*?)" an entity with the label LOC\?', each), each.rpartition(" -> ")[2]) for each in shown
    ]
    assert [(found and found[1], answer) for found, answer in questions] == [
        ("Oslo", "Yes"), ("Mars", "No"), ("Ann", "No"), ("Paris", "Yes"),
    ]  # fmt: skip
    assert all(each.startswith(document.text) for each, document in zip(shown[::3], (POOL[3], POOL[1]), strict=True))


@pytest.mark.parametrize(
    "passage", ["Ann  lives in\nRome.", "Ann lives in Rome. Bob lives in Paris.", "lives in Rome."]
)
def test_a_text_and_what_it_is_a_part_of_are_never_shown_about_it(passage: str) -> None:
    shown = "".join(shown_before(passage, "Rome", "LOC"))
    assert "Mars lives" in shown
    assert "Ann lives" not in shown
    assert ("Bob lives" in shown) == ("Paris" not in passage)


def test_only_what_fits_into_the_budget_is_shown() -> None:
    every = shown_before("Zoe lives in Paris with Al.", "Paris", "LOC")
    nearest = sum(len(part.encode()) for part in every[-1].split(" -> "))
    assert shown_before("Zoe lives in Paris with Al.", "Paris", "LOC", budget=nearest) == every[-1:]
    assert shown_before("Zoe lives in Paris with Al.", "Paris", "LOC", budget=nearest - 30) == []
    assert len(shown_before("Zoe lives in Paris with Al.", "Paris", "LOC", shots=2)) == 2
    assert shown_before("Nobody", "Nobody", "PER") == []  # no word in common


def test_a_mention_that_another_text_has_is_asked_about_there() -> None:
    pool = (labelled("Ada and Bo met in Bo.", PER="Ada"),)
    examples = Answered((JUDGE_PROMPT,) * 2, ByWords(pool), 1, 1000)
    (shown,) = examples.before("Cy and Bo ran.", "bo", "LOC", lambda text, mention: mention)
    assert shown[:2] == ("Bo", "No")
