"""The decoder: greedy among the tokens that source lock and grammar both allow, whatever the logits say."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from asking import CORPORA, default_labels, request
from conftest import ONE_THREAD
from gguf import TokenType
from hypothesis import given
from hypothesis import strategies as st
from random_model import short_metadata, write_random_model
from short_vocabulary import NORMAL
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
def grammar(random_model: Model) -> Iterator[Grammar]:
    grammar = Grammar.compile(random_model, 'root ::= "ab" [cd]')
    yield grammar
    grammar.free()


def ids(model: Model, text: str) -> list[int]:
    """One token for each byte."""
    found = [model.vocabulary.id_of(bytes((byte,))) for byte in text.encode()]
    return [id for id in found if id is not None]


def test_a_grammar_allows_what_may_come_next_and_moves_on_when_it_accepts(
    random_model: Model, grammar: Grammar
) -> None:
    a, b, c, d = ids(random_model, "abcd")
    assert [grammar.allows(id) for id in (a, b, c, d)] == [True, False, False, False]
    assert grammar.allows(a), "asking changes nothing"
    grammar.accept(a)
    grammar.accept(b)
    assert [grammar.allows(id) for id in (a, b, c, d)] == [False, False, True, True]
    assert not grammar.allows(random_model.end_ids[0])
    grammar.accept(d)
    assert grammar.allows(random_model.end_ids[0])
    assert not any(grammar.allows(id) for id in (a, b, c, d))


def test_a_clone_starts_where_its_original_stands_and_goes_its_own_way(random_model: Model, grammar: Grammar) -> None:
    a, b = ids(random_model, "ab")
    grammar.accept(a)
    clone = grammar.clone()
    clone.accept(b)
    assert grammar.allows(b)
    assert not clone.allows(b)
    clone.free()


@pytest.mark.parametrize("broken", ["root ::= missing", "root ::= (", "other ::= [a]", 'root ::= "a" | root "b"'])
def test_a_broken_grammar_is_a_usage_error(random_model: Model, broken: str) -> None:
    with pytest.raises(UsageError, match="grammar"):
        Grammar.compile(random_model, broken)


def decoder(model: Model, asked: Request, room: int = ROOM) -> Decoder:
    return Decoder(model, asked, Grammar.compile(model, asked.grammar), room)


def completed(model: Model, asked: Request, seed: int, spread: float = 4.0) -> Completion:
    """What comes of random logits."""
    random = np.random.default_rng(seed)
    running = decoder(model, asked)
    while not running.done:
        running.take((random.standard_normal(model.size) * spread).astype(np.float32))
        drafted = running.draft()
        assert len(drafted.ids) == len(drafted.inside)
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
    random_model: Model, format: str, depth: int
) -> None:
    found = 0
    for seed, text in enumerate(2 * [text for texts in CORPORA.values() for text in texts]):
        completion = completed(random_model, request(random_model, text, format=format, depth=depth), seed)
        found += len(read(completion, text, format, random_model, depth))
    assert found > 5


@pytest.mark.parametrize("format", FORMATS)
@given(text=hostile_text(most=8).filter(str.strip), seed=st.integers(0, 1000), data=st.data())
@examples(15)
def test_hostile_text_parses_in_any_format_with_any_allowance(
    random_model: Model, format: str, text: str, seed: int, data: st.DataObject
) -> None:
    allowance = data.draw(st.sampled_from([0, 1, 7, 100]))
    asked = request(random_model, text, format=format, depth=data.draw(st.sampled_from([1, 2])), allowance=allowance)
    lock = asked.lock.segmented(random_model.pieces)
    completion = completed(random_model, asked, seed)
    read(completion, text, format, random_model, depth=2)
    assert len(completion.ends) <= locking.remaining(lock, locking.begin(lock)) + allowance


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("allowance", [0, 40])
def test_the_choice_is_the_most_probable_of_all_legal_tokens(random_model: Model, format: str, allowance: int) -> None:
    """Against a search through the whole vocabulary, in the order of the logits."""
    random = np.random.default_rng(5)
    asked = request(random_model, "Ann 東 [x]", format=format, depth=2, allowance=allowance)
    lock = asked.lock.segmented(random_model.pieces)
    running, grammar = decoder(random_model, asked), Grammar.compile(random_model, asked.grammar)
    places = locking.begin(lock)
    tokens_left = locking.remaining(lock, places) + allowance

    def is_legal(id: int) -> bool:
        data = random_model.vocabulary.bytes_of(id, lock)
        after = locking.advance(lock, places, data) if data else ()
        return bool(after) and locking.remaining(lock, after) < tokens_left and grammar.allows(id)

    while not running.done:
        logits = (random.standard_normal(random_model.size) * 4).astype(np.float32)
        best = next(filter(is_legal, np.argsort(-logits).tolist()))
        assert running.take(logits) == best
        grammar.accept(best)
        places = locking.advance(lock, places, random_model.vocabulary.bytes_of(best, lock) or b"")
        tokens_left -= 1
    assert locking.finished(lock, places)
    running.free()
    grammar.free()


@pytest.mark.parametrize("allowance", range(14))
@pytest.mark.parametrize("format", ["bracketed", "xml", "occurrence", "inserted"])
def test_a_writer_that_wastes_tokens_keeps_to_its_allowance(random_model: Model, format: str, allowance: int) -> None:
    """One byte at a time, and markup before text, wherever the constraint lets it."""
    logits = np.full(random_model.size, -9.0, dtype=np.float32)
    for byte in range(256):
        logits[random_model.vocabulary.id_of(bytes((byte,)))] = 9.0 if chr(byte) in '[<{"' else 1.0
    logits[random_model.vocabulary.added["⟦".encode()]] = 9.0
    asked = request(random_model, "a b c", format=format, depth=2, allowance=allowance, labels=[Label("X")])
    lock = asked.lock.segmented(random_model.pieces)
    running = decoder(random_model, asked)
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


def test_log_probabilities_and_margin_are_those_among_the_legal_tokens(random_model: Model) -> None:
    """`⟦a⦂X⟧ b`: opening against copying, copying alone, closing against going on, label against label, a blank b."""
    asked = request(random_model, "a b", labels=[Label("X"), Label("Y")])
    running = decoder(random_model, asked)
    running.take(favouring(random_model, **{"⟦": 2.0, "a": 1.0, "b": 9.0}))
    running.take(favouring(random_model, **{"a": 0.0, "⟦": 9.0}))
    running.take(favouring(random_model, **{"⦂": 1.5, "_b": 1.0, "b": 3.0}))
    running.take(favouring(random_model, X=0.25, Y=0.0))
    running.take(favouring(random_model, **{"⟧": -3.0}))
    running.take(favouring(random_model, **{"_b": 1.0, "⟦": 0.0}))
    assert running.done
    completion = running.completion(7)
    running.free()
    assert completion.text == "⟦a⦂X⟧ b"
    assert completion.prompt_tokens == 7
    assert completion.ends == (3, 4, 7, 8, 11, 13)
    assert completion.margin == pytest.approx(0.25)
    said = [value if value is None else round(float(np.exp(value)), 3) for value in completion.log_probabilities[:5]]
    assert said == [0.731, 1.0, 0.622, 0.562, 1.0]


def test_outside_entities_tokens_of_other_formats_have_no_log_probability(random_model: Model) -> None:
    asked = request(random_model, "a b", format="bracketed", labels=[Label("X")])
    running = decoder(random_model, asked)
    running.take(favouring(random_model, a=9.0))
    running.take(favouring(random_model, _=9.0))
    running.take(favouring(random_model, **{"[": 0.0, "b": 0.0}))
    while not running.done:
        running.take(favouring(random_model))
    completion = running.completion(0)
    running.free()
    assert completion.log_probabilities[:2] == (None, None)
    assert completion.margin == 0.0
    assert completion.text in ("a b", "a [b | X]")


def test_no_room_for_the_shortest_completion_is_a_data_error(random_model: Model) -> None:
    asked = request(random_model, "Ann met Bob.", format="bracketed", allowance=10)
    lock = asked.lock.segmented(random_model.pieces)
    needed = locking.remaining(lock, locking.begin(lock))
    running = decoder(random_model, asked, room=needed)
    while not running.done:
        running.take(np.zeros(random_model.size, dtype=np.float32))
    running.free()
    with pytest.raises(DataError, match=f"{needed} tokens .*{needed - 1} .*--context"):
        decoder(random_model, asked, room=needed - 1)


def test_a_format_whose_marks_the_model_lacks_is_a_usage_error(tmp_path_factory: pytest.TempPathFactory) -> None:
    types, _, _ = short_metadata()["tokenizer.ggml.token_type"]
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
    random_model: Model, text: str, depth: int
) -> None:
    """The same logits at each place, whichever of them are looked at."""
    asked = request(random_model, text, depth=depth)
    for seed in range(4):
        taken, ids, none = forced_at_times(random_model, asked, seed, 0.0)
        forced, same, some = forced_at_times(random_model, asked, seed, 1.0)
        assert (none, same) == (0, ids)
        assert some
        assert forced == taken


@pytest.mark.parametrize("often", [0.5, 1.0])
@pytest.mark.parametrize("format", FORMATS)
def test_with_forced_tokens_a_completion_parses_and_its_entities_stand_in_the_text(
    random_model: Model, format: str, often: float
) -> None:
    total = 0
    for seed, text in enumerate(FORCED_TEXTS):
        for allowance in (0, 400):
            asked = request(random_model, text, format=format, depth=4, allowance=allowance)
            completion, ids, forced = forced_at_times(random_model, asked, seed, often)
            read(completion, text, format, random_model, depth=4)
            assert len(ids) == len(completion.ends)
            total += forced
    assert total


@pytest.mark.parametrize("format", ["xml", "inserted", "category"])
def test_a_forced_token_is_certain_and_the_only_way_on(random_model: Model, format: str) -> None:
    asked = request(random_model, "Ann  <  Bob\n\n\n", format=format, labels=[Label("PERSON"), Label("X")])
    running, lock = decoder(random_model, asked), asked.lock.segmented(random_model.pieces)
    places, random, forced = locking.begin(lock), np.random.default_rng(2), []
    while not running.done:
        only = set(random_model.vocabulary.legal(lock, places)) if lock.by_token else set()
        literal = locking.forced(lock, places)
        id = running.force()
        forced.append(id is not None)
        if id is None:
            assert len(only) != 1
            id = running.take((random.standard_normal(random_model.size) * 4).astype(np.float32))
        elif lock.by_token:
            assert only == {id}
        else:
            assert literal.startswith(random_model.piece(id))
        places = locking.advance(lock, places, random_model.vocabulary.bytes_of(id, lock) or b"")
    said = running.completion(0).log_probabilities
    running.free()
    assert any(forced)
    assert [said[at] for at, was in enumerate(forced) if was] == [0.0] * sum(forced)


def test_forced_text_is_written_in_canonical_tokens_but_for_the_last_one(random_model: Model) -> None:
    """Behind `<`, nothing but `PERSON>A` may come, and `A` may be part of a longer token."""
    asked = request(random_model, "Ann", format="xml", labels=[Label("PERSON")])
    running = decoder(random_model, asked)
    running.take(favouring(random_model, **{"<": 9.0}))
    canonical = random_model.plain("PERSON>A")
    assert len(canonical) > 1
    assert [running.force() for _ in canonical] == [*canonical[:-1], None]
    while running.force() is not None or not running.done:
        assert running.done or running.take(favouring(random_model, **{"Ann": 9.0, "A": 8.0, "n": 7.0, "<": 1.0}))
    completion = running.completion(0)
    running.free()
    assert completion.text == "<PERSON>Ann</PERSON>"


def test_text_at_the_end_is_forced_to_its_last_token(random_model: Model) -> None:
    asked = request(random_model, "x" + " \n" * 20, format="xml", allowance=0)
    running = decoder(random_model, asked)
    running.take(favouring(random_model, x=9.0))
    found = []
    while (id := running.force()) is not None:
        found.append(id)
    assert running.done
    assert found == random_model.plain(" \n" * 20)
    running.free()


def test_what_was_to_be_forced_is_forgotten_where_a_token_is_taken_instead(random_model: Model) -> None:
    """One blank fewer: the rest has other canonical tokens."""
    running = decoder(random_model, request(random_model, "x" + " \n\n" * 9, format="xml", allowance=60))
    running.take(favouring(random_model, x=9.0))
    first = running.force()
    assert first == random_model.plain(" \n\n" * 9)[0]
    running.take(favouring(random_model, _=9.0, **{"\n": 8.0}))
    written = running.completion(0).text
    assert running.force() == random_model.plain(("x" + " \n\n" * 9)[len(written) :])[0]
    running.free()


@pytest.mark.parametrize("format", ["inserted", "xml"])
@pytest.mark.parametrize("constraint", [Constraint.FORMAT, Constraint.OFF])
def test_nothing_is_forced_or_drafted_where_the_source_does_not_hold(
    random_model: Model, constraint: Constraint, format: str
) -> None:
    running = decoder(random_model, request(random_model, "\n\t\n\t\na b", format=format, constraint=constraint))
    for _ in range(3):
        assert running.force() is None
        assert not running.draft().ids
        running.take(favouring(random_model, a=1.0, _b=2.0))
    running.free()


@pytest.mark.parametrize("format", ["bracketed", "xml", "inserted"])
def test_a_draft_is_the_source_from_here_on_but_for_its_last_token(random_model: Model, format: str) -> None:
    text = "Ann met Bob in ⟦Ely & York." if format == "inserted" else "Ann met Bob, in  Ely."
    asked = request(random_model, text, format=format)
    source = random_model.plain(FORMATS[format].render(text, [], ["PER"]).completion)
    running = decoder(random_model, asked)
    for at, id in enumerate(source):
        assert running.draft() == (source[at:-1], [False] * len(source[at:-1]))
        assert running.take(np.eye(1, random_model.size, id, dtype=np.float32)[0] * 90) == id
    assert running.done
    running.free()


def test_a_draft_goes_on_within_markup_and_not_behind_the_mark_of_an_unknown_label(random_model: Model) -> None:
    def drafted() -> tuple[bytes, list[bool]]:
        draft = running.draft()
        return b"".join(random_model.vocabulary.pieces[id] or b"" for id in draft.ids), list(draft.inside)

    running = decoder(random_model, request(random_model, "a b c", labels=[Label("X")]))
    running.take(favouring(random_model, **{"⟦": 9.0}))
    assert drafted() == (b"a b", [True, True])
    running.take(favouring(random_model, a=9.0))
    running.take(favouring(random_model, **{"⦂": 9.0}))
    assert drafted() == (b"", [])
    running.free()
    running = decoder(random_model, request(random_model, "a b c", format="xml", labels=[Label("X")]))
    running.take(favouring(random_model, **{"<": 9.0}))
    assert drafted() == (b"X>a b", [False, False, True, True])
    running.free()


def test_nothing_is_drafted_where_one_token_closes_an_entity_and_ends_the_text(tmp_path: Path) -> None:
    tokens, merges = (short_metadata()[f"tokenizer.ggml.{name}"][0] for name in ("tokens", "merges"))
    tokens = [*tokens[: NORMAL - 1], "].", *tokens[NORMAL:]]
    change = {"tokenizer.ggml.tokens": tokens, "tokenizer.ggml.merges": [*merges[:-1], "] ."]}
    with Model(write_random_model(tmp_path / "model.gguf", change=change), gpu_layers=0) as model:
        assert model.plain("].") == [NORMAL - 1]
        running = decoder(model, request(model, "a b.", format="bracketed", depth=2, labels=[Label("X")]))
        for id in model.plain("[a [b | X"):
            assert running.take(np.eye(1, model.size, id, dtype=np.float32)[0] * 90) == id
        assert running.draft() == ([], [])
        running.free()


def test_a_close_call_behind_illegal_tokens_counts_for_the_margin(random_model: Model) -> None:
    """The most probable token is none of the text's; of the next two both are legal and nearly equal."""
    running = decoder(random_model, request(random_model, "ab c", format="xml", labels=[Label("X")]))
    running.take(favouring(random_model, z=9.0, ab=0.25, a=0.0, b=0.2))
    assert running.completion(0).margin == pytest.approx(0.25)
    running.take(favouring(random_model, z=9.0, _c=0.25, b=0.2))
    assert running.completion(0).margin == pytest.approx(0.25)
    assert math.isfinite(running.completion(0).margin)
    running.free()
