"""What an engine did and where its time went: counts and seconds, added up over a run."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, NamedTuple


class Costs(NamedTuple):
    """What a step costs beyond its tokens, in seconds: for each row of logits, and for each cell of another slot that a
    token's attention passes over."""

    row: float
    cell: float


@dataclass(slots=True)
class Statistics:
    """Counts are tokens unless named otherwise; seconds are wall-clock time.

    `prefix`: of shared prefixes, decoded once. `reused`: of shared prefixes, not decoded again. `prompt`: of
    prompts without prefix, of which `retrieved` ones of demonstrations for one text alone, and `hints`. `written`: of
    completions, `forced` ones among them. `drafted`: decoded in the hope that they would be chosen; `accepted`: those
    that were. `decoded`: all that went through llama_decode, in `steps` calls, `outputs` of them with logits.
    `others`: cells of other slots that attention passed over, summed over the decoded tokens.
    `advances`: choices of one slot after a step.
    `choosing_seconds`: finding the next tokens, of which `grammar_seconds` in llama.cpp's grammar and
    `scoring_seconds` in log-probabilities.
    """

    requests: int = 0
    prefix: int = 0
    reused: int = 0
    prompt: int = 0
    retrieved: int = 0
    hints: int = 0
    written: int = 0
    forced: int = 0
    drafted: int = 0
    accepted: int = 0
    decoded: int = 0
    outputs: int = 0
    others: int = 0
    steps: int = 0
    advances: int = 0
    decode_seconds: float = 0.0
    choosing_seconds: float = 0.0
    grammar_seconds: float = 0.0
    scoring_seconds: float = 0.0

    @property
    def width(self) -> float:
        """Tokens with logits of a slot in a step, on average; 3 as long as little is known."""
        return (24 + self.outputs) / (8 + self.advances)

    def plus(self, other: Statistics) -> Statistics:
        """The sums of both."""
        return Statistics(*(getattr(self, item.name) + getattr(other, item.name) for item in fields(self)))

    def note_step(self, tokens: int, outputs: int, others: int, seconds: float) -> None:
        """One llama_decode of `tokens` tokens, with logits for `outputs` of them, took `seconds`."""
        self.steps += 1
        self.decoded += tokens
        self.outputs += outputs
        self.others += others
        self.decode_seconds += seconds


def report(statistics: Statistics, costs: Costs, *, seconds: float, documents: int, failed: int) -> dict[str, Any]:
    """What a run of `seconds` seconds did and where its time went, as a JSON value.

    `share` adds up to 1 and says what the time was spent on; `decode` of it is split once more in `decode_share`, as
    the costs of a step suggest: `other_slots` is attention that passes over their cells. Logits that are computed one
    by one while choosing (`head`) count as `source_lock`.
    What a run had nothing of is 0.
    """
    count = statistics
    return {
        "seconds": round(seconds, 3),
        "documents": documents,
        "failed": failed,
        "documents_per_second": round(_ratio(documents, seconds), 3),
        "tokens": {
            item.name: getattr(count, item.name)
            for item in fields(count)
            if not item.name.endswith(("_seconds", "others"))
        },
        "share": _rounded(_share(count, seconds)),
        "decode_share": _rounded(_decode_share(count, costs, seconds)),
        "tokens_per_batch": round(_ratio(count.decoded, count.steps), 2),
        "drafts": {
            "drafted": count.drafted,
            "accepted": count.accepted,
            "acceptance": round(_ratio(count.accepted, count.drafted), 4),
        },
        "cache_reuse": round(_ratio(count.reused, count.reused + count.prefix + count.prompt), 4),
    }


def _share(count: Statistics, seconds: float) -> dict[str, float]:
    spent = {
        "decode": count.decode_seconds,
        "grammar": count.grammar_seconds,
        "source_lock": max(0.0, count.choosing_seconds - count.grammar_seconds - count.scoring_seconds),
        "scoring": count.scoring_seconds,
    }
    spent["other"] = max(0.0, seconds - sum(spent.values()))
    return {name: _ratio(value, seconds) for name, value in spent.items()}


def _decode_share(count: Statistics, costs: Costs, seconds: float) -> dict[str, float]:
    """The decoding's share, divided among what the costs of a step are; what is left went into the tokens."""
    spent = {"logits": costs.row * count.outputs, "other_slots": costs.cell * count.others}
    scale = min(1.0, _ratio(count.decode_seconds, sum(spent.values())))
    shares = {name: _ratio(scale * value, seconds) for name, value in spent.items()}
    return {"tokens": _ratio(count.decode_seconds, seconds) - sum(shares.values()), **shares}


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else 0.0


def _rounded(shares: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 4) for name, value in shares.items()}
