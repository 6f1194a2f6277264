"""The decoder: greedy among the tokens that source lock and grammar both allow, whatever the logits say."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pytest
from asking import CORPORA, default_labels, request
from conftest import ONE_THREAD
from gguf import TokenType
from hypothesis import given
from hypothesis import strategies as st
from random_model import bundled_metadata, write_random_model
from strategies import examples, hostile_text

from genner_cli import locking
from genner_cli.engine.decoder import Decoder, Grammar
from genner_cli.engine.engine import Engine
from genner_cli.engine.model import Model
from genner_cli.errors import DataError, UsageError
from genner_cli.extraction import entities_of
from genner_cli.formats import FORMATS
from genner_cli.generation import Completion, Constraint, Request
from genner_cli.prompting import GENERAL_PROMPT
from genner_cli.tasks import Task
from genner_cli.types import Entity, Label

ROOM = 4000


@pytest.fixture
def grammar(bundled: Model) -> Iterator[Grammar]:
    grammar = Grammar.compile(bundled, 'root ::= "ab" [cd]')
    yield grammar
    grammar.free()


def ids(model: Model, text: str) -> list[int]:
    """One token for each byte."""
    found = [model.vocabulary.id_of(bytes((byte,))) for byte in text.encode()]
    return [id for id in found if id is not None]


def test_a_grammar_allows_what_may_come_next_and_moves_on_when_it_accepts(bundled: Model, grammar: Grammar) -> None:
    a, b, c, d = ids(bundled, "abcd")
    assert [grammar.allows(id) for id in (a, b, c, d)] == [True, False, False, False]
    assert grammar.allows(a), "asking changes nothing"
    grammar.accept(a)
    grammar.accept(b)
    assert [grammar.allows(id) for id in (a, b, c, d)] == [False, False, True, True]
    assert not grammar.allows(bundled.end_ids[0])
    grammar.accept(d)
    assert grammar.allows(bundled.end_ids[0])
    assert not any(grammar.allows(id) for id in (a, b, c, d))


def test_a_clone_starts_where_its_original_stands_and_goes_its_own_way(bundled: Model, grammar: Grammar) -> None:
    a, b = ids(bundled, "ab")
    grammar.accept(a)
    clone = grammar.clone()
    clone.accept(b)
    assert grammar.allows(b)
    assert not clone.allows(b)
    clone.free()


@pytest.mark.parametrize("broken", ["root ::= missing", "root ::= (", "other ::= [a]", 'root ::= "a" | root "b"'])
def test_a_broken_grammar_is_a_usage_error(bundled: Model, broken: str) -> None:
    with pytest.raises(UsageError, match="grammar"):
        Grammar.compile(bundled, broken)


def decoder(model: Model, asked: Request, room: int = ROOM) -> Decoder:
    return Decoder(model, asked, Grammar.compile(model, asked.grammar), room)


def completed(model: Model, asked: Request, seed: int, spread: float = 4.0) -> Completion:
    """What comes of random logits."""
    random = np.random.default_rng(seed)
    running = decoder(model, asked)
    while not running.done:
        running.take((random.standard_normal(model.size) * spread).astype(np.float32))
    completion = running.completion(0)
    running.free()
    return completion


def read(completion: Completion, text: str, format: str, model: Model, depth: int = 1) -> list[Entity]:
    """The completion's entities; every one stands in the text and nests no deeper than asked."""
    labels = default_labels(model)
    assert completion.error is None
    assert completion.ends[-1:] == ((len(completion.text.encode()),) if completion.text else ())
    assert all(one < other for one, other in pairwise(completion.ends))
    entities = entities_of(completion, text, Task(tuple(labels), GENERAL_PROMPT, format))
    for entity in entities:
        assert text[entity.start : entity.end] == entity.text
        assert entity.text.strip() == entity.text != ""
        assert entity.label in {label.name for label in labels}
        assert entity.score is not None
        assert 0 <= entity.score <= 1
        around = [other for other in entities if other.start <= entity.start and entity.end <= other.end]
        assert len(around) <= depth
        assert not any(other.start < entity.start < other.end < entity.end for other in entities), "they cross"
    return entities


@pytest.mark.parametrize("depth", [1, 4])
@pytest.mark.parametrize("format", FORMATS)
def test_whatever_the_logits_a_completion_parses_and_its_entities_stand_in_the_text(
    bundled: Model, format: str, depth: int
) -> None:
    found = 0
    for seed, text in enumerate(2 * [text for texts in CORPORA.values() for text in texts]):
        completion = completed(bundled, request(bundled, text, format=format, depth=depth), seed)
        found += len(read(completion, text, format, bundled, depth))
    assert found > 5


@pytest.mark.parametrize("format", FORMATS)
@given(text=hostile_text(most=8).filter(str.strip), seed=st.integers(0, 1000), data=st.data())
@examples(15)
def test_hostile_text_parses_in_any_format_with_any_allowance(
    bundled: Model, format: str, text: str, seed: int, data: st.DataObject
) -> None:
    allowance = data.draw(st.sampled_from([0, 1, 7, 100]))
    asked = request(bundled, text, format=format, depth=data.draw(st.sampled_from([1, 2])), allowance=allowance)
    lock = asked.lock.segmented(bundled.pieces)
    completion = completed(bundled, asked, seed)
    read(completion, text, format, bundled, depth=2)
    assert len(completion.ends) <= locking.remaining(lock, locking.begin(lock)) + allowance


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("allowance", [0, 40])
def test_the_choice_is_the_most_probable_of_all_legal_tokens(bundled: Model, format: str, allowance: int) -> None:
    """Against a search through the whole vocabulary, in the order of the logits."""
    random = np.random.default_rng(5)
    asked = request(bundled, "Ann 東 [x]", format=format, depth=2, allowance=allowance)
    lock = asked.lock.segmented(bundled.pieces)
    running, grammar = decoder(bundled, asked), Grammar.compile(bundled, asked.grammar)
    places = locking.begin(lock)
    tokens_left = locking.remaining(lock, places) + allowance

    def is_legal(id: int) -> bool:
        data = bundled.vocabulary.bytes_of(id, lock)
        after = locking.advance(lock, places, data) if data else ()
        return bool(after) and locking.remaining(lock, after) < tokens_left and grammar.allows(id)

    while not running.done:
        logits = (random.standard_normal(bundled.size) * 4).astype(np.float32)
        best = next(filter(is_legal, np.argsort(-logits).tolist()))
        assert running.take(logits) == best
        grammar.accept(best)
        places = locking.advance(lock, places, bundled.vocabulary.bytes_of(best, lock) or b"")
        tokens_left -= 1
    assert locking.finished(lock, places)
    running.free()
    grammar.free()


@pytest.mark.parametrize("allowance", range(14))
@pytest.mark.parametrize("format", ["bracketed", "xml", "occurrence", "inserted"])
def test_a_writer_that_wastes_tokens_keeps_to_its_allowance(bundled: Model, format: str, allowance: int) -> None:
    """One byte at a time, and markup before text, wherever the constraint lets it."""
    logits = np.full(bundled.size, -9.0, dtype=np.float32)
    for byte in range(256):
        logits[bundled.vocabulary.id_of(bytes((byte,)))] = 9.0 if chr(byte) in '[<{"' else 1.0
    logits[bundled.vocabulary.added["⟦".encode()]] = 9.0
    asked = request(bundled, "a b c", format=format, depth=2, allowance=allowance, labels=[Label("X")])
    lock = asked.lock.segmented(bundled.pieces)
    running = decoder(bundled, asked)
    while not running.done:
        running.take(logits)
    completion = running.completion(0)
    running.free()
    FORMATS[format].parse(completion.text, "a b c")
    assert len(completion.ends) <= locking.remaining(lock, locking.begin(lock)) + allowance


def favouring(model: Model, **logits: float) -> np.ndarray:
    """Zero for every token but those named by their text (`_` is a blank)."""
    values = np.full(model.size, -50.0, dtype=np.float32)
    for text, value in logits.items():
        data = text.replace("_", " ").encode()
        values[model.vocabulary.added.get(data, model.vocabulary.id_of(data))] = value
    return values


def test_log_probabilities_and_margin_are_those_among_the_legal_tokens(bundled: Model) -> None:
    """`⟦a⦂X⟧ b`: opening against copying, copying alone, closing against going on, label against label, a blank b."""
    asked = request(bundled, "a b", labels=[Label("X"), Label("Y")])
    running = decoder(bundled, asked)
    running.take(favouring(bundled, **{"⟦": 2.0, "a": 1.0, "b": 9.0}))
    running.take(favouring(bundled, **{"a": 0.0, "⟦": 9.0}))
    running.take(favouring(bundled, **{"⦂": 1.5, "_b": 1.0, "b": 3.0}))
    running.take(favouring(bundled, X=0.25, Y=0.0))
    running.take(favouring(bundled, **{"⟧": -3.0}))
    running.take(favouring(bundled, **{"_b": 1.0, "⟦": 0.0}))
    assert running.done
    completion = running.completion(7)
    running.free()
    assert completion.text == "⟦a⦂X⟧ b"
    assert completion.prompt_tokens == 7
    assert completion.ends == (3, 4, 7, 8, 11, 13)
    assert completion.margin == pytest.approx(0.25)
    said = [value if value is None else round(float(np.exp(value)), 3) for value in completion.log_probabilities[:5]]
    assert said == [0.731, 1.0, 0.622, 0.562, 1.0]


def test_outside_entities_tokens_of_other_formats_have_no_log_probability(bundled: Model) -> None:
    asked = request(bundled, "a b", format="bracketed", labels=[Label("X")])
    running = decoder(bundled, asked)
    running.take(favouring(bundled, a=9.0))
    running.take(favouring(bundled, _=9.0))
    running.take(favouring(bundled, **{"[": 0.0, "b": 0.0}))
    while not running.done:
        running.take(favouring(bundled))
    completion = running.completion(0)
    running.free()
    assert completion.log_probabilities[:2] == (None, None)
    assert completion.margin == 0.0
    assert completion.text in ("a b", "a [b | X]")


def test_no_room_for_the_shortest_completion_is_a_data_error(bundled: Model) -> None:
    asked = request(bundled, "Ann met Bob.", format="bracketed", allowance=10)
    lock = asked.lock.segmented(bundled.pieces)
    needed = locking.remaining(lock, locking.begin(lock))
    running = decoder(bundled, asked, room=needed)
    while not running.done:
        running.take(np.zeros(bundled.size, dtype=np.float32))
    running.free()
    with pytest.raises(DataError, match=f"{needed} tokens .*{needed - 1} .*--context"):
        decoder(bundled, asked, room=needed - 1)


def test_a_format_whose_marks_the_model_lacks_is_a_usage_error(tmp_path_factory: pytest.TempPathFactory) -> None:
    types, _, _ = bundled_metadata()["tokenizer.ggml.token_type"]
    unmarked = [TokenType.UNUSED if kind == TokenType.USER_DEFINED else kind for kind in types]
    path = tmp_path_factory.mktemp("markless") / "markless.gguf"
    write_random_model(path, change={"tokenizer.ggml.token_type": unmarked})
    with Model(path, gpu_layers=0) as model, Engine(model, ONE_THREAD) as engine:
        with pytest.raises(UsageError, match="another --format"):
            list(engine.generate([request(model, "x")]))
        ((_, completion),) = engine.generate([request(model, "x", format="xml")])
        assert completion.error is None


FORCED_TEXTS = ["Ann \t\n  Bob  \n\n", "x < y &&  <b>&lt; Bob", "⟦⧵⟧   é 北京 👩"]


def forced_at_times(model: Model, asked: Request, seed: int, often: float) -> tuple[Completion, list[int], int]:
    """What comes of random logits where some tokens are forced: also its tokens and how many of them were."""
    random = np.random.default_rng(seed)
    running = decoder(model, asked)
    ids, forced = [], 0
    while not running.done:
        logits = (random.standard_normal(model.size) * 4).astype(np.float32)
        logits[model.vocabulary.id_of(b"]")] = -99.0
        id = running.force() if random.random() < often else None
        forced += id is not None
        ids.append(running.take(logits) if id is None else id)
    completion = running.completion(0)
    assert running.force() is None
    running.free()
    return completion, ids, forced


@pytest.mark.parametrize("depth", [1, 4])
@pytest.mark.parametrize("text", FORCED_TEXTS)
def test_forcing_gives_the_tokens_that_taking_gives_where_the_lock_is_by_token(
    bundled: Model, text: str, depth: int
) -> None:
    """The same logits at each place, whichever of them are looked at."""
    asked = request(bundled, text, depth=depth)
    for seed in range(4):
        taken, ids, none = forced_at_times(bundled, asked, seed, 0.0)
        forced, same, some = forced_at_times(bundled, asked, seed, 1.0)
        assert (none, same) == (0, ids)
        assert some
        assert forced == taken


@pytest.mark.parametrize("often", [0.5, 1.0])
@pytest.mark.parametrize("format", FORMATS)
def test_with_forced_tokens_a_completion_parses_and_its_entities_stand_in_the_text(
    bundled: Model, format: str, often: float
) -> None:
    total = 0
    for seed, text in enumerate(FORCED_TEXTS):
        for allowance in (0, 400):
            asked = request(bundled, text, format=format, depth=4, allowance=allowance)
            completion, ids, forced = forced_at_times(bundled, asked, seed, often)
            read(completion, text, format, bundled, depth=4)
            assert len(ids) == len(completion.ends)
            total += forced
    assert total


@pytest.mark.parametrize("format", ["xml", "inserted", "category"])
def test_a_forced_token_is_certain_and_the_only_way_on(bundled: Model, format: str) -> None:
    asked = request(bundled, "Ann  <  Bob\n\n\n", format=format, labels=[Label("PERSON"), Label("X")])
    running, lock = decoder(bundled, asked), asked.lock.segmented(bundled.pieces)
    places, random, forced = locking.begin(lock), np.random.default_rng(2), []
    while not running.done:
        only = set(bundled.vocabulary.legal(lock, places)) if lock.by_token else set()
        literal = locking.forced(lock, places)
        id = running.force()
        forced.append(id is not None)
        if id is None:
            assert len(only) != 1
            id = running.take((random.standard_normal(bundled.size) * 4).astype(np.float32))
        elif lock.by_token:
            assert only == {id}
        else:
            assert literal.startswith(bundled.piece(id))
        places = locking.advance(lock, places, bundled.vocabulary.bytes_of(id, lock) or b"")
    said = running.completion(0).log_probabilities
    running.free()
    assert any(forced)
    assert [said[at] for at, was in enumerate(forced) if was] == [0.0] * sum(forced)


def test_forced_text_is_written_in_canonical_tokens_but_for_the_last_one(bundled: Model) -> None:
    """Behind `<`, nothing but `PERSON>A` may come, and `A` may be part of a longer token."""
    asked = request(bundled, "Ann", format="xml", labels=[Label("PERSON")])
    running = decoder(bundled, asked)
    running.take(favouring(bundled, **{"<": 9.0}))
    canonical = bundled.plain("PERSON>A")
    assert len(canonical) > 1
    assert [running.force() for _ in canonical] == [*canonical[:-1], None]
    while running.force() is not None or not running.done:
        assert running.done or running.take(favouring(bundled, **{"Ann": 9.0, "A": 8.0, "n": 7.0, "<": 1.0}))
    completion = running.completion(0)
    running.free()
    assert completion.text == "<PERSON>Ann</PERSON>"


def test_text_at_the_end_is_forced_to_its_last_token(bundled: Model) -> None:
    asked = request(bundled, "x" + " \n" * 20, format="xml", allowance=0)
    running = decoder(bundled, asked)
    running.take(favouring(bundled, x=9.0))
    found = []
    while (id := running.force()) is not None:
        found.append(id)
    assert running.done
    assert found == bundled.plain(" \n" * 20)
    running.free()


def test_what_was_to_be_forced_is_forgotten_where_a_token_is_taken_instead(bundled: Model) -> None:
    """One blank fewer: the rest has other canonical tokens."""
    running = decoder(bundled, request(bundled, "x" + " \n\n" * 9, format="xml", allowance=60))
    running.take(favouring(bundled, x=9.0))
    first = running.force()
    assert first == bundled.plain(" \n\n" * 9)[0]
    running.take(favouring(bundled, _=9.0, **{"\n": 8.0}))
    written = running.completion(0).text
    assert running.force() == bundled.plain(("x" + " \n\n" * 9)[len(written) :])[0]
    running.free()


@pytest.mark.parametrize("format", ["inserted", "xml"])
@pytest.mark.parametrize("constraint", [Constraint.FORMAT, Constraint.OFF])
def test_nothing_is_forced_or_drafted_where_the_source_does_not_hold(
    bundled: Model, constraint: Constraint, format: str
) -> None:
    running = decoder(bundled, request(bundled, "\n\t\n\t\na b", format=format, constraint=constraint))
    for _ in range(3):
        assert running.force() is None
        assert not running.draft().ids
        running.take(favouring(bundled, a=1.0, _b=2.0))
    running.free()


@pytest.mark.parametrize("format", ["bracketed", "xml", "inserted"])
def test_a_draft_is_the_source_from_here_on_but_for_its_last_token(bundled: Model, format: str) -> None:
    text = "Ann met Bob in ⟦Ely & York." if format == "inserted" else "Ann met Bob, in  Ely."
    asked = request(bundled, text, format=format)
    source = bundled.plain(FORMATS[format].render(text, [], ["PER"]).completion)
    running = decoder(bundled, asked)
    for at, id in enumerate(source):
        assert running.draft() == (source[at:-1], [False] * len(source[at:-1]))
        assert running.take(np.eye(1, bundled.size, id, dtype=np.float32)[0] * 90) == id
    assert running.done
    running.free()


def test_a_draft_goes_on_within_markup_and_not_behind_the_mark_of_an_unknown_label(bundled: Model) -> None:
    def drafted() -> tuple[bytes, list[bool]]:
        draft = running.draft()
        return b"".join(bundled.vocabulary.pieces[id] or b"" for id in draft.ids), list(draft.inside)

    running = decoder(bundled, request(bundled, "a b c", labels=[Label("X")]))
    running.take(favouring(bundled, **{"⟦": 9.0}))
    assert drafted() == (b"a b", [True, True])
    running.take(favouring(bundled, a=9.0))
    running.take(favouring(bundled, **{"⦂": 9.0}))
    assert drafted() == (b"", [])
    running.free()
    running = decoder(bundled, request(bundled, "a b c", format="xml", labels=[Label("X")]))
    running.take(favouring(bundled, **{"<": 9.0}))
    assert drafted() == (b"X>a b", [False, False, True, True])
    running.free()


def test_a_close_call_behind_illegal_tokens_counts_for_the_margin(bundled: Model) -> None:
    """The most probable token is none of the text's; of the next two both are legal and nearly equal."""
    running = decoder(bundled, request(bundled, "ab c", format="xml", labels=[Label("X")]))
    running.take(favouring(bundled, z=9.0, ab=0.25, a=0.0, b=0.2))
    assert running.completion(0).margin == pytest.approx(0.25)
    running.take(favouring(bundled, z=9.0, _c=0.25, b=0.2))
    assert running.completion(0).margin == pytest.approx(0.25)
    assert math.isfinite(running.completion(0).margin)
    running.free()
