"""Tokens decoded ahead of the choice: they change speed, never output, and are made where they pay."""

from __future__ import annotations

import random
import re
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
import pytest
from asking import CORPORA, assert_same_texts, default_labels, in_order, news, request
from conftest import ONE_THREAD
from hypothesis import given
from hypothesis import strategies as st
from strategies import examples

from genner_cli.engine import engine as engine_module
from genner_cli.engine.decoder import Decoder, Grammar
from genner_cli.engine.drafting import Acceptance, StepCosts, lengths, look
from genner_cli.engine.engine import Engine
from genner_cli.engine.model import Model
from genner_cli.engine.slot import Slot
from genner_cli.engine.statistics import Statistics
from genner_cli.engine.step_times import StepTimes
from genner_cli.formats import FORMATS
from genner_cli.generation import Completion, EngineOptions, Request
from genner_cli.types import Entity

Lengths = Callable[[Sequence[Iterable[float]], StepCosts, int, int, int], list[int]]

BLANKS = ["Ann \t\n  Bob  \n\n\n   met   Eve.  \n\n", "x < y && a <  <b>&lt;  Bob &", " " * 9 + "Ann" + " " * 70]
"""Much of these is forced: runs of blanks, escapes, closings that can wait no longer."""

TEXTS = [CORPORA["news"][0], CORPORA["literary"][0], *CORPORA["hostile"][2:4], *BLANKS]


def never(chances: Sequence[Iterable[float]], costs: StepCosts, pending: int, most: int, others: int) -> list[int]:
    return [0] * len(chances)


def always(chances: Sequence[Iterable[float]], costs: StepCosts, pending: int, most: int, others: int) -> list[int]:
    """As many as there are and fit."""
    found = []
    for reached in chances:
        found.append(min(len(list(reached)), max(0, most)))
        most -= found[-1]
    return found


@pytest.fixture
def draft(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[list[Completion], Statistics]]:
    """Runs requests with drafts of these lengths, in as many slots as there are, and with costs that no clock has
    measured, so that what is drafted is the same on any machine."""
    monkeypatch.setattr(StepCosts, "slot_pays", lambda *_: True)
    monkeypatch.setattr(StepCosts, "note", lambda *_: None)

    def run(
        model: Model, requests: Sequence[Request], by: Lengths, options: EngineOptions
    ) -> tuple[list[Completion], Statistics]:
        monkeypatch.setattr(engine_module, "lengths", by)
        with Engine(model, options) as engine:
            return in_order(engine.generate(requests)), engine.statistics

    return run


Draft = Callable[[Model, Sequence[Request], Lengths, EngineOptions], tuple[list[Completion], Statistics]]

TOLERANCE = 0.05
"""By how much a log-probability may differ between batches."""


def assert_same(some: Sequence[Completion], others: Sequence[Completion]) -> None:
    """The same texts in the same tokens with the same log-probabilities, but for the noise."""
    assert_same_texts(some, others)
    for one, other in zip(some, others, strict=True):
        if one.text == other.text and min(one.margin, other.margin) > TOLERANCE:
            assert one.ends == other.ends
            assert one.log_probabilities == pytest.approx(other.log_probabilities, abs=TOLERANCE)


@pytest.mark.parametrize("depth", [1, 4], ids=["flat", "nested"])
@pytest.mark.parametrize("format", FORMATS)
def test_drafts_change_speed_never_output(model: Model, draft: Draft, format: str, depth: int) -> None:
    requests = [request(model, text, format=format, depth=depth) for text in TEXTS]
    without, _ = draft(model, requests, never, replace(ONE_THREAD, slots=4))
    assert [completion.error for completion in without] == [None] * len(requests)
    for by, slots in ((always, 4), (lengths, 1)):
        completions, statistics = draft(model, requests, by, replace(ONE_THREAD, slots=slots))
        assert_same(without, completions)
        assert statistics.accepted > 0 or statistics.written <= 2 * len(requests), "nothing but empty lists"


def test_formats_side_by_side_draft_where_they_repeat_the_text(random_model: Model, draft: Draft) -> None:
    requests = [request(random_model, text, format=format, depth=4) for text in TEXTS[-4:] for format in FORMATS]
    without, _ = draft(random_model, requests, never, replace(ONE_THREAD, slots=1))
    completions, statistics = draft(random_model, requests, always, replace(ONE_THREAD, slots=7))
    assert_same(without, completions)
    assert statistics.accepted > 0


def test_drafts_are_right_mostly_with_a_trained_model(bundled: Model, draft: Draft) -> None:
    requests = [request(bundled, text) for text in news()[:16]]
    without, slow = draft(bundled, requests, never, ONE_THREAD)
    completions, fast = draft(bundled, requests, lengths, ONE_THREAD)
    assert_same(without, completions)
    assert slow.drafted == slow.accepted == 0
    assert fast.accepted > 0.5 * fast.drafted > 20
    assert fast.steps < 0.8 * slow.steps


def test_a_chain_of_tokens_is_less_and_less_probable(bundled: Model, draft: Draft) -> None:
    seen = []

    def recorded(chances: Sequence[Iterable[float]], costs: StepCosts, *sizes: int) -> list[int]:
        known = [list(reached) for reached in chances]
        seen.extend(known)
        return lengths(known, costs, *sizes)

    draft(bundled, [request(bundled, text) for text in news()[:4]], recorded, ONE_THREAD)
    assert max(map(len, seen)) > 5
    assert all(1 > chance > following > 0 for reached in seen for chance, following in pairwise(reached))


def test_what_is_learnt_of_the_source_is_the_same_with_drafts(
    bundled: Model, draft: Draft, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes: list[object] = []
    monkeypatch.setattr(Acceptance, "note", lambda _, key, agreed: notes.append((key, agreed)))
    requests = [request(bundled, text) for text in news()[:4]]
    draft(bundled, requests, never, replace(ONE_THREAD, slots=1))
    without = notes.copy()
    notes.clear()
    draft(bundled, requests, always, replace(ONE_THREAD, slots=1))
    assert len(without) > 50
    assert notes == without


def test_all_of_a_draft_that_is_right_is_kept(bundled: Model, draft: Draft, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where several tokens of it follow from one choice."""
    kept: list[int] = []
    choose = Slot.choose

    def checked(slot: Slot, rows: Any) -> bool:
        before = slot.statistics.accepted
        right = choose(slot, rows)
        accepted = slot.statistics.accepted - before
        assert right == (accepted == slot.drafted)
        assert slot.pending[:1] != slot.draft.ids[accepted : slot.drafted][:1] or not slot.pending
        kept.append(accepted)
        return right

    monkeypatch.setattr(Slot, "choose", checked)
    draft(bundled, [request(bundled, text) for text in TEXTS], always, ONE_THREAD)
    assert max(kept) > 5


@pytest.mark.parametrize("by", [never, always, lengths])
def test_statistics_add_up(model: Model, draft: Draft, by: Lengths) -> None:
    requests = [request(model, text, format=format) for text in TEXTS for format in ("inserted", "xml", "category")]
    completions, count = draft(model, requests, by, ONE_THREAD)
    assert count.requests == len(requests)
    assert count.prompt == sum(completion.prompt_tokens for completion in completions)
    assert count.written == sum(len(completion.ends) for completion in completions)
    assert 0 <= count.accepted <= count.drafted
    assert 0 < count.forced < count.written
    chosen = count.outputs - (count.drafted - count.accepted)
    assert count.written - count.forced <= chosen <= count.written, "an accepted token may be a forced one"
    if not count.drafted:
        assert chosen == count.written - count.forced
    wasted = count.drafted - count.accepted
    assert count.decoded + count.forced >= count.prompt + count.written + wasted - len(requests)
    assert count.decoded <= count.prompt + count.written + wasted - len(requests)
    assert count.prefix > 0
    assert count.reused == count.prefix * len(requests)


def test_behind_the_last_choice_nothing_is_decoded(random_model: Model, draft: Draft) -> None:
    """Runs of blanks at the end are forced."""
    asked = [request(random_model, "x" + " \n\t" * 30, allowance=0)]
    (completion,), count = draft(random_model, asked, always, ONE_THREAD)
    assert count.decoded < completion.prompt_tokens + 20 < completion.prompt_tokens + len(completion.ends)


def test_what_a_choice_forces_is_not_chosen_once_more(random_model: Model, draft: Draft) -> None:
    asked = [request(random_model, "x" + " \n\t" * 12, format="xml", allowance=0)]
    (completion,), count = draft(random_model, asked, never, ONE_THREAD)
    assert count.outputs == count.steps == count.written - count.forced == 1
    assert len(completion.ends) > 5


def test_a_batch_smaller_than_a_prompt_and_a_draft(model: Model, draft: Draft) -> None:
    requests = [request(model, text) for text in TEXTS]
    assert max(len(model.prompt(asked.rest)) for asked in requests) > 32
    without, _ = draft(model, requests, never, ONE_THREAD)
    for batch in (4, 32):
        completions, count = draft(model, requests, always, replace(ONE_THREAD, batch_tokens=batch, slots=3))
        assert_same(without, completions)
        assert count.drafted


@pytest.mark.parametrize("context", [256, 512])
def test_drafts_fill_a_small_context_but_never_run_over(
    random_model: Model, draft: Draft, context: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = [request(random_model, text, format="xml", depth=4) for text in [*news(30, 70)[:10], *BLANKS]]
    without, _ = draft(random_model, requests, never, replace(ONE_THREAD, context=4096))
    evicted = []
    make_room = Engine._make_room

    def counted(engine: Engine, *args: object) -> object:
        evicted.append(sum(slot.drafted for slot in engine._slots))
        return make_room(engine, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(Engine, "_make_room", counted)
    completions, count = draft(random_model, requests, always, replace(ONE_THREAD, context=context, slots=16))
    assert evicted
    assert not any(evicted), "a draft takes the room that a slot needs"
    assert count.accepted > 0
    assert [completion.error for completion in completions] == [None] * len(requests)
    assert_same(without, completions)


def test_a_cache_that_is_smaller_than_promised_fails_one_request_and_the_others_finish(
    random_model: Model, draft: Draft, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The prompts alone fit; what the long ones write does not, whatever the engine takes its context to be."""
    texts = [*news(30, 40)[:2], " ".join(news()[:9]), *news(30, 40)[2:4]]
    requests = [request(random_model, text) for text in texts]
    without, _ = draft(random_model, requests, never, ONE_THREAD)
    make = Engine.__init__

    def promise_more(engine: Engine, model: Model, options: EngineOptions) -> None:
        make(engine, model, replace(options, context=256))
        engine._options = options

    monkeypatch.setattr(Engine, "__init__", promise_more)
    for by in (never, always):
        completions, _ = draft(random_model, requests, by, replace(ONE_THREAD, context=4096))
        assert [bool(completion.error) for completion in completions] == [False, False, True, False, False]
        assert "larger --context" in (completions[2].error or "")
        assert completions[2].text == ""
        assert_same(without[:2] + without[3:], completions[:2] + completions[3:])


def straight(each: float) -> StepTimes:
    return StepTimes((1, 100), (each, 100 * each))


def costs(fixed: float, each: float, row: float) -> StepCosts:
    found = StepCosts(straight(each))
    found.fixed, found.row, found.best_size = fixed, row, 63
    return found


def drafted(chances: Sequence[Sequence[float]], known: StepCosts, most: int) -> list[int]:
    """Where each slot has one token pending."""
    return lengths(chances, known, len(chances), most)


def per_token(chances: Sequence[Sequence[float]], counts: Sequence[int], known: StepCosts) -> float:
    """Time of a step for each token that is chosen in it, on average."""
    tokens = len(chances) + sum(counts)
    chosen = len(chances) + sum(sum(reached[:count]) for reached, count in zip(chances, counts, strict=True))
    return float(known.seconds(np.array(tokens), np.array(tokens))) / chosen


chains = st.lists(st.floats(0, 1), max_size=8).map(lambda found: sorted(found, reverse=True))
some_chances = st.lists(chains, min_size=1, max_size=5)
cost = st.floats(1e-3, 100) | st.just(0.0)


@examples(200)
@given(chances=some_chances, known=st.builds(costs, cost, cost, cost), most=st.integers(-3, 30))
def test_drafts_fit_and_never_make_a_token_dearer(chances: list[list[float]], known: StepCosts, most: int) -> None:
    found = drafted(chances, known, most)
    assert len(found) == len(chances)
    assert all(0 <= count <= len(reached) for count, reached in zip(found, chances, strict=True))
    assert sum(found) <= max(0, most)
    assert per_token(chances, found, known) <= per_token(chances, [0] * len(chances), known) * (1 + 1e-9)


@examples(50)
@given(chances=some_chances, each=cost, row=cost)
def test_without_a_fixed_cost_there_is_nothing_to_save(chances: list[list[float]], each: float, row: float) -> None:
    known = costs(0, each, row)
    found = drafted(chances, known, 30)
    assert per_token(chances, found, known) == pytest.approx(per_token(chances, [0] * len(chances), known))


def test_the_most_probable_tokens_are_drafted_first() -> None:
    chances = [[0.9, 0.5, 0.1], [0.8, 0.7], [], [0.05]]
    assert drafted(chances, costs(100, 1, 0), 1) == [1, 0, 0, 0]
    assert drafted(chances, costs(100, 1, 0), 3) == [1, 2, 0, 0]
    assert drafted(chances, costs(200, 1, 0), 30) == [3, 2, 0, 1]
    assert drafted(chances, costs(2, 1, 0), 30) == [1, 1, 0, 0]
    assert drafted(chances, costs(2, 0.5, 0.5), 30) == [1, 1, 0, 0]
    assert drafted([], costs(2, 1, 0), 30) == []


def test_a_step_is_filled_up_to_the_size_that_costs_little_more() -> None:
    """16 tokens take hardly longer than 12, and 20 take much longer."""
    known = StepCosts(StepTimes((1, 12, 16, 20), (1.0, 12.0, 12.1, 24.0)))
    assert lengths([[0.6] * 9], known, 12, 9) == [4]
    assert lengths([[0.6] * 9], known, 16, 9) == [0]


def test_cells_of_others_speak_against_another_slot() -> None:
    """A step of 16 tokens costs no less for each than one of 8, but for what a step costs once."""
    known = costs(8, 1, 0)
    known.cell = 1e-3
    assert known.slot_pays(4, 400, 100, 2)
    assert not known.slot_pays(4, 400, 2000, 2)
    assert not known.slot_pays(8, 800, 100, 8), "steps are full"


def test_the_costs_of_steps_are_found_through_noise() -> None:
    rng, known = random.Random(5), StepCosts(straight(1e-3))
    for _ in range(640):
        tokens = rng.choice((1, 4, 16, 63))
        outputs, others = rng.randint(1, min(tokens, 32)), tokens * rng.randint(0, 2000)
        seconds = 8e-3 + 2e-3 * tokens + 5e-4 * outputs + 1e-6 * others
        known.note(tokens, outputs, others, seconds * rng.uniform(0.95, 1.05))
    assert (known.fixed, known.scale, known.row, known.cell) == pytest.approx((8e-3, 2, 5e-4, 1e-6), rel=0.2)


def test_steps_are_larger_where_each_turns_out_to_cost_something_besides() -> None:
    """A time for each token that rises with size, as caches let it, does not make small steps worth their number."""
    times = StepTimes((1, 4, 8, 16, 63), (0.2, 0.4, 0.7, 1.5, 6.0))
    known = StepCosts(times)
    assert known.best_size == 8
    for tokens in (8, 7, 8, 5) * 8:
        known.note(tokens, 1, 0, 1.0 + float(times.of(tokens)))
    assert known.best_size == 63


def test_old_steps_fade() -> None:
    rng, known = random.Random(6), StepCosts(straight(1.0))
    for scale in (1.0, 3.0):
        for _ in range(2000):
            tokens = rng.randint(2, 63)
            known.note(tokens, rng.randint(1, tokens), 0, scale * (4.0 + tokens))
    assert (known.fixed, known.scale) == pytest.approx((12.0, 3.0), rel=0.1)


@pytest.mark.parametrize(
    "steps",
    [
        [(7, 7, 9, 0.01)],
        [(512, 0, 9, 0.3)],
        [(512, 0, 9, 0.3), (1, 1, 9, 0.3)],
        [(1, 1, 9, 1.0), (100, 1, 9, 0.5)],
        [(4, 2, 9, 0.0), (8, 2, 9, 0.1)],
        [(4, 2, 9, 0.0)],
        [(1, 1, 9, 1e-9), (1, 1, 9, 1e4)],
    ],
    ids=[
        "all equal",
        "prompts only",
        "prompts and one token",
        "shorter with more",
        "zero at times",
        "zero",
        "far apart",
    ],
)
def test_whatever_was_measured_the_costs_are_finite_and_not_negative(steps: list[tuple[int, int, int, float]]) -> None:
    known = StepCosts(straight(1e-3))
    for at in range(64):
        known.note(*steps[at % len(steps)])
    found = (known.fixed, known.scale, known.row, known.cell)
    assert all(0 <= value < 1e9 for value in found)
    assert any(found)
    assert sum(drafted([[0.9] * 9] * 3, known, 20)) <= 20


def test_drafts_are_expected_to_be_right_as_often_as_they_were_there_and_at_first_as_often_as_anywhere() -> None:
    acceptance = Acceptance((b" Bob", b"by", None))
    key, other = acceptance.key(False, 1, 0), acceptance.key(True, 1, 0)
    assert key != other
    assert acceptance.key(False, 0, 1) != key
    assert acceptance.probability(key) == 0.8
    for _ in range(995):
        acceptance.note(key, False)
    assert acceptance.probability(key) < 0.001
    assert acceptance.probability(other) == pytest.approx(0.004)
    for _ in range(995):
        acceptance.note(key, True)
    assert acceptance.probability(key) == pytest.approx(0.5, abs=0.01)
    acceptance.note(other, True)
    assert 0.5 < acceptance.probability(other) < 0.6


def test_tokens_look_alike_by_their_space_and_their_first_character_and_punctuation_like_itself() -> None:
    alike = [(b"Ann", b"B"), (b"and", b"x."), (b"1", b"93a"), (b".a", b"\xc3\xa9"), (b" A", b"\nBob")]
    alike += [(b" a", b"\ta"), (b" 1", b" 2b"), (b" .a", b"  a"), (b"", None), (b" ",), (b'"],',), (b'",',)]
    looks = [{look(piece) for piece in pieces} for pieces in alike]
    assert [len(found) for found in looks] == [1] * len(alike)
    assert len(set.union(*looks)) == len(alike)


EXPECTED = [
    ("Angela Merkel met Mr. O'Neil of Coca-Cola in New York, then Angela Merkel left Berlin.", "xml", 16),
    ("Angela Merkel met Mr. O'Neil of Coca-Cola in New York, then Angela Merkel left Berlin.", "bracketed", 16),
    ("Angela Merkel met Mr. O'Neil of Coca-Cola in New York, then Angela Merkel left Berlin.", "category", 11),
    ("Angela Merkel met Mr. O'Neil of Coca-Cola in New York, then Angela Merkel left Berlin.", "occurrence", 8),
    ("Angela Merkel met Mr. O'Neil of Coca-Cola in New York, then Angela Merkel left Berlin.", "offset", 8),
    ("nothing stands here, in many words", "category", 1),
    ("nothing stands here, in many words", "offset", 1),
]
NAMES = {"Angela Merkel": "PER", "O'Neil": "PER", "Coca-Cola": "ORG", "New York": "LOC", "Berlin": "LOC"}


def steps_of(model: Model, asked: Request, wanted: str) -> int:
    """How often logits are needed by a model that writes this in canonical tokens, if all drafts are decoded along."""
    ids = model.plain(wanted)
    ends = accumulate((len(model.vocabulary.pieces[id] or b"") for id in ids), initial=0)
    next_at = dict(zip(ends, ids, strict=False))
    running = Decoder(model, asked, Grammar.compile(model, asked.grammar), 4000)
    count = written = 0
    while not running.done:
        count += 1
        draft, agreed = deque(running.draft().ids), True
        while agreed and not running.done:
            row = np.zeros(model.size, np.float32)
            row[next_at[written]] = 9
            for id in (running.take(row), *iter(running.force, None)):
                written += len(model.vocabulary.pieces[id] or b"")
                agreed = agreed and bool(draft) and draft.popleft() == id
    completion = running.completion(0)
    running.free()
    assert completion.text == wanted
    return count


@pytest.mark.parametrize(("text", "format", "most"), EXPECTED)
def test_a_model_that_writes_what_is_likely_needs_few_steps(bundled: Model, text: str, format: str, most: int) -> None:
    found = [
        Entity(match.start(), match.end(), label, name)
        for name, label in NAMES.items()
        for match in re.finditer(name, text)
    ]
    asked = request(bundled, text, format=format)
    labels = [label.name for label in default_labels(bundled)]
    wanted = FORMATS[format].render(text, found, labels)
    assert not wanted.left_out
    assert steps_of(bundled, asked, wanted.completion) <= most
