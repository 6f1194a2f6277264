"""What teachers teach: the same decisions in any tokens, and the loss on their answers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer
from transformers_models import VOCABULARY, new_model

from genner_cli.errors import ModelError
from genner_cli.files.teaching import Answer, Belief, Teaching
from genner_cli.formats import select
from genner_cli.locking import Vocabulary
from genner_cli.prompting import Prompt
from genner_cli.training.batches import Batch
from genner_cli.training.examples import Decision, Example, Sample, Tokenizer, encode
from genner_cli.training.fusion import answer, grouped, joined, taught
from genner_cli.training.head import logits
from genner_cli.training.loss import Objective, hidden_states
from genner_cli.training.options import Loss
from genner_cli.training.packing import in_a_row
from genner_cli.training.tokens import Tokens
from genner_cli.types import Entity, Label, Piece

TOKENIZER = Path(__file__).parent.parent / "examples" / "bundled_model" / "tokenizer"
PROMPT = Prompt("<|labels|>", "<|text|>", "<|entities|>")
LABELS = (Label("PER"), Label("LOC"), Label("LOCAL"))


class Bytes:
    """A tokenizer whose tokens are the single bytes: it breaks everywhere, inside characters as well."""

    vocabulary = Vocabulary([bytes((byte,)) for byte in range(256)], {})
    begins: Sequence[int] = []
    end = 0

    def plain(self, text: str) -> list[int]:
        return list(text.encode())

    def pieces(self, text: str) -> list[bytes]:
        return [bytes((byte,)) for byte in text.encode()]

    def prompt(self, pieces: Sequence[Piece]) -> list[int]:
        return [id for piece in pieces for id in piece.text.encode()]


@cache
def small_tokens() -> Tokens:
    return Tokens(AutoTokenizer.from_pretrained(TOKENIZER))


@pytest.fixture(scope="module")
def tokens() -> Tokens:
    return small_tokens()


def sample(text: str, **labels: str) -> Sample:
    """Entities by their texts."""
    found = [
        Entity(text.index(mention), text.index(mention) + len(mention), label, mention)
        for mention, label in labels.items()
    ]
    return Sample(text, tuple(sorted(found, key=lambda entity: entity.start)), LABELS)


def example(sample: Sample, tokenizer: Tokenizer, format: str, depth: int = 1) -> Example:
    return encode(sample, tokenizer, PROMPT, format, depth, meanings=True)


def planted(example: Example, open: float, close: float, label: float) -> Answer:
    """The answer of a teacher that opens and closes with these probabilities wherever it may, and gives the right label
    with this one; the others share the rest alike."""
    rows = []
    for decision in example.decisions:
        assert decision.meaning
        numbers, groups = grouped(decision.meaning.outcomes)
        closing = any(group[0].startswith("close") for group in groups)
        if decision.meaning.situation.pending:
            said = [label if at == numbers[0] else (1 - label) / max(1, len(groups) - 1) for at in range(len(groups))]
        else:
            given = {"open": open, "close": close, "continue": 1 - closing * close - (("open",) in groups) * open}
            said = [given[group[0].split()[0]] for group in groups]
        weights = [said[number] / numbers.count(number) if number >= 0 else 0.0 for number in numbers]
        if numbers[0] < 0:  # white space or markup behind which it is decided
            weights = [1.0, *[0.0] * (len(numbers) - 1)]
        rows.append([math.log(max(weight, 1e-30)) for weight in weights])
    return answer(example, rows)


def targets(example: Example) -> list[tuple[int, tuple[str, ...], dict[str, float]]]:
    """Of each decision with a target: its offset, the right outcomes, and the probability of each legal token's."""
    found = []
    for decision in example.decisions:
        if decision.target and decision.meaning:
            pairs = zip(decision.meaning.outcomes, decision.groups, strict=True)
            said = {"|".join(outcomes): round(decision.target[group], 4) for outcomes, group in pairs if group >= 0}
            found.append((decision.meaning.situation.offset, decision.meaning.outcomes[0], said))
    return found


CLOSES = "close LOC|close LOCAL|close PER"


def test_a_student_of_words_is_taught_by_a_teacher_of_bytes_at_positions_checked_by_hand(tokens: Tokens) -> None:
    """`José to Łódź` in the student's tokens: J osé | to | Łódź. A boundary inside é or ź decides nothing."""
    text = sample("José to Łódź", José="PER", Łódź="LOC")
    assert tokens.pieces(text.text) == [b"J", "osé".encode(), b" to", " Łódź".encode()]
    student, teacher = example(text, tokens, "inserted"), example(text, Bytes(), "bracketed")
    assert targets(taught(student, planted(teacher, open=0.3, close=0.6, label=0.8))) == [
        (0, ("open",), {"open": 0.3, "continue": 0.7}),
        (1, ("continue",), {"continue": 0.4, CLOSES: 0.6}),
        (4, ("close LOC", "close LOCAL", "close PER"), {CLOSES: 0.6, "continue": 0.4}),
        (4, ("close PER",), {"close PER": 0.8, "close LOC": 0.2, "close LOCAL": 0.2}),  # as one: both begin with L
        (4, ("continue",), {"continue": 0.7, "open": 0.3}),
        (7, ("open",), {"open": 0.3, "continue": 0.7}),
        (12, ("close LOC",), {"close LOC": 0.8, "close LOCAL": 0.8, "close PER": 0.2}),
    ]  # fmt: skip


STRINGS = (
    "Ann went to Rome.", "Zoë Miller in Łódź", "(Ann)", "Ann\n\nRome", "Ann  Rome", "  Ann  ", "北京市 and 東京",
    "naïve Ōtani’s café",
    "👩\u200d👩\u200d👧 Ann 🇩🇪🇫🇷", "e\u0301 n\u0303 Ann", "Ann 2024", "12 123 1234567", "\tAnn\t",
    "Ann\u00a0Rome", "[Ann] | \\",
    "⟦Ann⦂PER⟧", "नमस्ते दुनिया Ann", "עִבְרִית Ann", "Ann-Marie's", "A",
)  # fmt: skip


@pytest.mark.parametrize("depth", [1, 3])
@pytest.mark.parametrize("formats", [("inserted", "bracketed"), ("bracketed", "bracketed"), ("inserted", "inserted")])
@pytest.mark.parametrize("text", STRINGS)
def test_a_target_says_of_each_token_what_the_teacher_says_of_what_it_decides(
    text: str, formats: tuple[str, str], depth: int, tokens: Tokens
) -> None:
    """Whatever both tokenizers make of the text, what is planted at all decisions alike arrives at each of them."""
    spoken = Sample(text, (), LABELS)
    student = example(spoken, tokens, formats[0], depth)
    teacher = example(spoken, tokens if formats[1] == "inserted" else Bytes(), formats[1], depth)
    found = targets(taught(student, planted(teacher, open=0.25, close=0.5, label=0.5)))
    assert found
    assert all(said == {"continue": 0.75, "open": 0.25} for _, _, said in found)
    if formats[0] == "inserted":
        places = [d.meaning.situation.offset for d in student.decisions if d.meaning]
        assert [offset for offset, *_ in found] == places


@st.composite
def nested(draw: st.DrawFn) -> Sample:
    """A text of words, white space and marks, and entities in it, some in others."""
    text = draw(st.text("Ab é\n[|👩", min_size=1, max_size=24))
    words = [at for at in range(len(text)) if not text[at].isspace()]
    ends = st.tuples(st.sampled_from(words), st.sampled_from(words)).map(sorted) if words else st.nothing()
    spans = draw(st.lists(ends, max_size=4, unique_by=tuple)) if words else []
    found = [Entity(a, b + 1, draw(st.sampled_from(["PER", "LOC"])), text[a : b + 1]) for a, b in spans]
    kept, _ = select(text, found, ["PER", "LOC"], 3)
    return Sample(text, tuple(kept), LABELS[:2])


@given(nested())
@settings(max_examples=150)
def test_what_is_planted_arrives_at_every_decision_of_nested_entities_too(spoken: Sample) -> None:
    student = example(spoken, small_tokens(), "bracketed", 3)
    teacher = planted(example(spoken, Bytes(), "bracketed", 3), open=0.2, close=0.5, label=0.8)
    for offset, right, said in targets(taught(student, teacher)):
        labels = {outcome for each in said for outcome in each.split("|") if outcome.startswith("close")}
        if "continue" not in said:
            assert said == {each: 0.8 if each in right else 0.2 for each in labels}, offset
        else:
            expected = {"continue": 1 - 0.2 * ("open" in said) - 0.5 * bool(labels), "open": 0.2}
            assert said == {each: pytest.approx(expected.get(each, 0.5)) for each in said}, offset


@given(st.lists(st.sets(st.sampled_from("abcdef"), min_size=1).map(lambda each: tuple(sorted(each))), min_size=1))
@settings(max_examples=200)
def test_a_partition_joins_what_one_token_may_mean_and_nothing_else(sets: list[tuple[str, ...]]) -> None:
    parts = joined(sets)
    assert sorted(outcome for part in parts for outcome in part) == sorted({o for each in sets for o in each})
    for each in sets:
        assert any(set(each) <= set(part) for part in parts)
    for part in parts:  # no finer one would do: from one outcome all others are reached over shared sets
        reached = {part[0]}
        while more := {o for each in sets if set(each) & reached for o in each} - reached:
            reached |= more
        assert reached == set(part)


def test_tokens_that_decide_nothing_are_in_no_group() -> None:
    outcomes = [("close A",), ("close A", "close B"), ("close B",), ("undecided",)]
    assert grouped(outcomes) == ([0, -1, 1, -1], [("close A",), ("close B",)])
    assert grouped([("close A",), ("close A", "close B"), ("close C",)])[0] == [0, 0, 1]


def test_a_teacher_that_puts_more_than_a_hundredth_on_another_spelling_is_not_believed(tokens: Tokens) -> None:
    one = example(Sample("Ann went", (), LABELS), tokens, "bracketed")
    at = next(number for number, decision in enumerate(one.decisions) if ("undecided",) in decision.meaning.outcomes)  # type: ignore[union-attr]

    def beliefs(unclear: float) -> int:
        rows = []
        for decision in one.decisions:
            assert decision.meaning
            undecided = [outcome == ("undecided",) for outcome in decision.meaning.outcomes]
            share = unclear if any(undecided) else 0.0
            weights = [share / sum(undecided) if u else (1 - share) / undecided.count(False) for u in undecided]
            rows.append([math.log(max(weight, 1e-30)) for weight in weights])
        return len(answer(one, rows).beliefs)

    assert one.decisions[at].meaning
    assert beliefs(0.005) > beliefs(0.2) > 0


def test_the_cost_is_the_cross_entropy_of_the_decisions_whatever_the_tokens(tokens: Tokens) -> None:
    text = sample("Ann to Łódź", Łódź="LOC")
    costs = [
        planted(example(text, tokens, "inserted"), open=0.3, close=0.6, label=0.8).cost,
        planted(example(text, tokens, "bracketed"), open=0.3, close=0.6, label=0.8).cost,
    ]
    inside = tokens.pieces(" Łódź")
    expected = -math.log(0.7**2 * 0.3 * 0.8)  # before Ann and to; Łódź opens, and is LOC
    assert inside == [" Łódź".encode()]
    assert costs[0] == pytest.approx(expected)
    assert costs[1] > expected  # its tokens break inside Łódź, where it decides to continue


def decided(seed: int, groups: tuple[int, ...], target: tuple[float, ...]) -> Example:
    """An example of random ids with one decision in the middle and one without a target."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randperm(VOCABULARY, generator=generator)[:24].tolist()
    legal = (ids[15], *[id for id in range(VOCABULARY) if id not in ids][: len(groups) - 1])
    return Example(
        tuple(ids), 5, 12, (Decision(15, legal, True, None, groups, target), Decision(18, (ids[18], 1), False)), ()
    )


def test_the_loss_is_the_one_computed_by_hand() -> None:
    model = new_model("llama").double()
    one = decided(1, (0, 1, 1, -1, 2), (0.2, 0.5, 0.3))
    batch = Batch.of(in_a_row([one], 100)[0])
    batch = replace(batch, targets=batch.targets.double() if batch.targets is not None else None)
    rows = logits(model, hidden_states(model, batch)).double()
    first, second = one.decisions
    p = torch.softmax(rows[14, list(first.legal)], 0)
    gold = -torch.log(p[0]) * 2.0 - torch.log_softmax(rows[17, list(second.legal)], 0)[0]
    whole = p[0] + p[1] + p[2] + p[4]
    groups = torch.stack([p[0], p[1] + p[2], p[4]]) / whole
    with_target = -(torch.tensor(one.decisions[0].target).double() * groups.log()).sum()
    for fusion in (0.0, 0.1, 1.0):
        expected = gold + fusion * (with_target + torch.log(p[0]) * 2.0)
        main, _ = Objective(Loss.LOCKED, opening_weight=2.0, fusion=fusion).sums(model, batch)
        assert main.item() == pytest.approx(expected.item(), rel=1e-6)


def test_without_weight_or_without_targets_the_loss_is_the_plain_one_to_the_bit() -> None:
    model = new_model("qwen2")
    one = decided(2, (0, 1, -1), (0.4, 0.6))
    plain = replace(one, decisions=tuple(replace(each, groups=(), target=()) for each in one.decisions))
    losses = [
        Objective(Loss.LOCKED, fusion=fusion).sums(model, Batch.of(in_a_row([each], 100)[0]))[0].item()
        for each, fusion in ((plain, 0.0), (plain, 0.7), (one, 0.0), (one, 0.7))
    ]
    assert losses[0] == losses[1] == losses[2] != losses[3]


def test_a_student_that_thinks_as_its_teacher_learns_nothing() -> None:
    model = new_model("llama")
    one = decided(3, (0, 1, 1, 2), (1.0, 0.0, 0.0))
    legal = list(one.decisions[0].legal)
    with torch.no_grad():
        p = torch.softmax(model(torch.tensor([one.ids])).logits[0, 14, legal], 0).tolist()
    same = replace(one.decisions[0], target=(p[0], p[1] + p[2], p[3]))

    def norm(decision: Decision) -> float:
        model.zero_grad()
        batch = Batch.of(in_a_row([replace(one, decisions=(decision,))], 100)[0])
        Objective(Loss.LOCKED, fusion=1.0).sums(model, batch)[0].backward()  # type: ignore[no-untyped-call]
        return math.hypot(*(float(v.grad.norm()) for v in model.parameters() if v.grad is not None))

    assert norm(same) < 1e-4 * norm(one.decisions[0])


ANSWER = Answer(1.5, (Belief((3, ((0, ""),), ()), (("continue",), ("close A", "close B")), (-0.5, -0.9)),))
TEACHER = {"teacher": "a.gguf", "hash": "0"}


def test_answers_survive_a_line_that_was_cut_off_and_another_teacher_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "teacher.jsonl"
    first = Teaching(path, TEACHER)
    first.add("one", ANSWER)
    first.add("two", Answer(float("inf"), ()))
    first.close()
    whole = path.read_bytes()
    for size in (len(whole) - 1, len(whole) - 20, whole.index(b"\n") + 5, 3, 0):
        path.write_bytes(whole[:size])
        resumed = Teaching(path, TEACHER)
        assert "two" not in resumed
        for key, each in (("one", ANSWER), ("two", Answer(float("inf"), ()))):
            if key not in resumed:
                resumed.add(key, each)
        assert (resumed.answer("one"), resumed.cost("two")) == (ANSWER, float("inf"))
        resumed.close()
        assert path.read_bytes() == whole
    with pytest.raises(ModelError, match="another teacher"):
        Teaching(path, {**TEACHER, "hash": "1"})
