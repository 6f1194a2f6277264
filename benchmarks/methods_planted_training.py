"""Rows of the table of methods on planted decisions: a tiny model with random weights, and genner's own objectives.

Each document is two words and one decision with four legal answers, of which the right one is planted. So it is known
what virtual tokens, a teacher or preferences must come to. The model has 2 layers of width 32.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from random import Random

import torch
from methods_rows import Measured, Row, counted
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel

from genner_cli.scoring.figures import DocumentCounts
from genner_cli.training.batches import Batch
from genner_cli.training.examples import Decision, Example
from genner_cli.training.head import logits_of
from genner_cli.training.loss import Objective, PreferenceObjective, hidden_states, log_probabilities
from genner_cli.training.options import Loss
from genner_cli.training.packing import in_a_row, in_pairs
from genner_cli.training.virtual_tokens import NAME, drawn, placed, set_virtual_tokens

WORDS, ANSWERS = range(1, 13), (25, 26, 27, 28)
WIDTH = 32
LEARNT, ASKED = 80, 150
"""Documents that are learnt from, and those that are asked about."""
STEPS = 40
IN_A_ROW = 4096
"""Tokens that are computed at a time."""


def _model(seed: int) -> PreTrainedModel:
    torch.manual_seed(seed)
    sizes = {"hidden_size": WIDTH, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    return LlamaForCausalLM(LlamaConfig(vocab_size=32, initializer_range=0.3, **sizes)).eval()


def _documents(rng: Random, count: int) -> list[tuple[int, int]]:
    return [(rng.choice(WORDS), rng.choice(WORDS)) for _ in range(count)]


def _example(words: tuple[int, int], answer: int, target: Sequence[float] = ()) -> Example:
    """`target`: what a teacher thinks of each answer."""
    legal = (answer, *(each for each in ANSWERS if each != answer))
    said = tuple(target[ANSWERS.index(each)] for each in legal) if target else ()
    decision = Decision(4, legal, False, None, tuple(range(len(legal))) if said else (), said)
    return Example((0, *words, 31, answer), 1, 4, (decision,), ())


def _fitted(model: PreTrainedModel, objective: Objective, lessons: Sequence[Sequence[Example]], *, rate: float) -> None:
    """Trains the model for STEPS, each on the next lesson."""
    pair = isinstance(objective, PreferenceObjective)
    packs = [in_pairs(each, IN_A_ROW, packed=True) if pair else in_a_row(each, IN_A_ROW) for each in lessons]
    batches = [(Batch.of(pack), objective.amounts(pack.examples)) for (pack,) in packs]
    optimizer = torch.optim.Adam([each for each in model.parameters() if each.requires_grad], rate)
    for step in range(STEPS):
        batch, amounts = batches[step % len(batches)]
        optimizer.zero_grad()
        objective.whole(*objective.sums(model, batch), amounts).backward()
        optimizer.step()


@torch.no_grad()
def _answers(model: PreTrainedModel, documents: Iterable[tuple[int, int]], tokens: int = 0) -> list[int]:
    """The likeliest answer to each, behind the first `tokens` virtual tokens."""
    (pack,) = in_a_row([placed(_example(words, ANSWERS[0]), tokens) for words in documents], IN_A_ROW)
    batch = Batch.of(pack)
    logits = logits_of(model, hidden_states(model, batch)[batch.decision_at], batch.legal)
    return [ANSWERS[at] for at in logits.argmax(1).tolist()]


def _right(gold: Sequence[int], answers: Sequence[int]) -> list[DocumentCounts]:
    return counted(([each] for each in gold), ([each] for each in answers))


TOKENS = 4


def virtual(seed: int) -> Measured:
    """Virtual tokens before a frozen model, which answers rightly behind hidden ones; control: random ones of the same
    lengths."""
    rng, model = Random(seed), _model(seed).requires_grad_(False)
    hidden = torch.randn(TOKENS, WIDTH)
    learnt, asked = _documents(rng, LEARNT), _documents(rng, ASKED)
    set_virtual_tokens(model, hidden)
    examples = list(map(_example, learnt, _answers(model, learnt, TOKENS)))
    gold = _answers(model, asked, TOKENS)
    set_virtual_tokens(model, torch.zeros(TOKENS, WIDTH) + 0.1 * torch.randn(TOKENS, WIDTH))
    lessons = [drawn(examples, TOKENS, seed, step) for step in range(2 * TOKENS)]
    _fitted(model, Objective(Loss.LOCKED), lessons, rate=0.1)
    rows = getattr(model, NAME).detach()
    without, found = (_answers(model, asked, count) for count in (0, TOKENS))
    other = torch.randn(TOKENS, WIDTH)
    set_virtual_tokens(model, other * (rows.norm(dim=1) / other.norm(dim=1))[:, None])
    return Measured(*(_right(gold, each) for each in (without, found, _answers(model, asked, TOKENS))))


TRUE = (0.4, 0.2, 0.2, 0.2)
"""How likely the first word makes its own answer and each other one."""


def fusion(seed: int) -> Measured:
    """A student of few and noisy answers, beside one that is also taught how likely each answer is; control: what the
    teacher says of other documents."""
    rng = Random(seed)
    learnt, asked = _documents(rng, LEARNT), _documents(rng, ASKED)
    own = {word: rng.randrange(len(ANSWERS)) for word in WORDS}
    targets = [[TRUE[(at - own[first]) % len(ANSWERS)] for at in range(len(ANSWERS))] for first, _ in learnt]
    answers = [rng.choices(ANSWERS, target)[0] for target in targets]
    gold = [ANSWERS[own[first]] for first, _ in asked]

    def taught(share: float, said: Sequence[Sequence[float]]) -> list[DocumentCounts]:
        model, examples = _model(seed), list(map(_example, learnt, answers, said))
        _fitted(model, Objective(Loss.LOCKED, fusion=share), [examples], rate=0.01)
        return _right(gold, _answers(model, asked))

    return Measured(taught(0.0, targets), taught(0.9, targets), taught(0.9, rng.sample(targets, len(targets))))


def preferences(seed: int) -> Measured:
    """A model after DPO on pairs of a right and a wrong answer, beside the one it was; control: every other pair
    swapped."""
    rng = Random(seed)
    learnt, asked = _documents(rng, LEARNT), _documents(rng, ASKED)
    own = {word: rng.choice(ANSWERS) for word in WORDS}
    gold = [own[first] for first, _ in asked]
    pairs = [
        (
            _example(words, own[words[0]]),
            _example(words, rng.choice([each for each in ANSWERS if each != own[words[0]]])),
        )
        for words in learnt
    ]
    swapped = [pair[:: -1 if at % 2 else 1] for at, pair in enumerate(pairs)]

    def preferring(pairs: Iterable[Sequence[Example]]) -> list[DocumentCounts]:
        model = _model(seed)
        examples = list(_referenced(model, [each for pair in pairs for each in pair]))
        _fitted(model, PreferenceObjective(Loss.LOCKED), [examples], rate=0.003)
        return _right(gold, _answers(model, asked))

    return Measured(_right(gold, _answers(_model(seed), asked)), preferring(pairs), preferring(swapped))


@torch.no_grad()
def _referenced(model: PreTrainedModel, examples: Sequence[Example]) -> Iterator[Example]:
    """The examples with the log-probability that the model gives them."""
    (pack,) = in_pairs(examples, IN_A_ROW, packed=True)
    for each, reference in zip(pack.examples, log_probabilities(model, Batch.of(pack), Loss.LOCKED), strict=True):
        yield replace(each, reference=float(reference))


ROWS = (
    Row("SPRING", "virtual tokens", "none", "random ones", virtual),
    Row("FuseLLM", "taught by a teacher, noisy answers", "no teacher", "targets of other documents", fusion),
    Row("Self-Selection", "DPO on pairs", "before it", "half of the pairs swapped", preferences),
)
