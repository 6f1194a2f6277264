"""What an engine did and where its time went: counts and seconds, added up over a run."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Statistics:
    """Counts are tokens unless named otherwise; seconds are wall-clock time.

    `prefix`: of shared prefixes, decoded once. `reused`: of shared prefixes, not decoded again. `prompt`: of
    prompts without prefix. `written`: of completions, `forced` ones among them. `drafted`: decoded in the hope
    that they would be chosen; `accepted`: those that were. `decoded`: all that went through llama_decode, in
    `steps` calls, `outputs` of them with logits. `choosing_seconds`: finding the next tokens, of which
    `grammar_seconds` in llama.cpp's grammar and `scoring_seconds` in log-probabilities.
    """

    requests: int = 0
    prefix: int = 0
    reused: int = 0
    prompt: int = 0
    written: int = 0
    forced: int = 0
    drafted: int = 0
    accepted: int = 0
    decoded: int = 0
    outputs: int = 0
    steps: int = 0
    decode_seconds: float = 0.0
    choosing_seconds: float = 0.0
    grammar_seconds: float = 0.0
    scoring_seconds: float = 0.0

    def note_step(self, tokens: int, outputs: int, seconds: float) -> None:
        """One llama_decode of so many tokens, so many with logits, took so long."""
        self.steps += 1
        self.decoded += tokens
        self.outputs += outputs
        self.decode_seconds += seconds
