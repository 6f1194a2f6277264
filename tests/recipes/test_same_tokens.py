"""benchmarks/same_tokens.py, and the texts that benchmarks/bench.py compares: near ties are told from differences."""

from __future__ import annotations

from argparse import Namespace
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
import same_tokens
from asking import news, request
from bench import Bench
from conftest import ONE_THREAD
from kept import Kept
from same_tokens import NOISE, Text
from workloads import Workload

from convert.logits import gguf_logits
from genner_cli import hub
from genner_cli.engine.model import Model

ASKED = news()[0]


def ranked(model: Model) -> tuple[list[int], list[float]]:
    """The tokens that might come first in place of the completion's first one, the most probable first, with their
    logits."""
    asked = request(model, ASKED)
    (logits,) = gguf_logits(hub.BUNDLED, [model.begin_ids + model.prompt(asked.prefix + asked.rest)])
    pieces = [piece.decode(errors="ignore") if piece else "" for piece in model.vocabulary.pieces]
    ids = [id for id in np.argsort(-logits[-1]).tolist() if pieces[id].strip().isalpha()]
    return ids, logits[-1][ids].tolist()


def starting_with(model: Model, id: int) -> Text:
    piece = model.vocabulary.pieces[id] or b""
    return Text.of(piece.decode() + " and more", [piece, b" and", b" more"])


def compared(model: Model, one: int, other: int) -> int:
    """How many near ties are found where completions begin with these tokens."""
    texts = [[starting_with(model, id)] for id in (one, other)]
    return same_tokens.check(model, ONE_THREAD, "they", [request(model, ASKED)], *texts)


def test_texts_may_differ_from_a_near_tie_on(bundled: Model, capsys: pytest.CaptureFixture[str]) -> None:
    ids, logits = ranked(bundled)
    at = next(at for at in range(len(ids)) if logits[at] - logits[at + 1] < NOISE / 5)
    assert compared(bundled, ids[at], ids[at + 1]) == 1
    assert compared(bundled, ids[at], ids[at]) == 0
    assert capsys.readouterr().out.count("near tie") == 1


def test_a_difference_ends_the_benchmark(bundled: Model) -> None:
    ids, logits = ranked(bundled)
    other = next(at for at in range(20, len(ids)) if logits[20] - logits[at] > 2 * NOISE)
    assert logits[20] - logits[other] < 4 * NOISE
    with pytest.raises(SystemExit, match="differ"):
        compared(bundled, ids[20], ids[other])


def test_a_token_that_is_not_known_is_a_difference(bundled: Model) -> None:
    known = starting_with(bundled, ranked(bundled)[0][0])
    unknown = Text.of("no token is as long as this", [b"no token is as long as this"])
    assert same_tokens.logits_apart(bundled, ONE_THREAD, request(bundled, ASKED), known, unknown) == float("inf")


def test_one_text_may_be_the_beginning_of_the_other(bundled: Model) -> None:
    whole = starting_with(bundled, ranked(bundled)[0][0])
    cut = Text.of(whole.text[:-5], whole.pieces[:2])
    assert same_tokens.check(bundled, ONE_THREAD, "they", [request(bundled, ASKED)], [whole], [cut]) == 0


def test_the_last_token_is_what_the_others_leave() -> None:
    assert Text.of("né là", [b"n\xc3", b"\xa9"]).pieces == [b"n\xc3", b"\xa9", b" l\xc3\xa0"]
    assert Text.of("né", [b"n", b"\xc3\xa9"]).pieces == [b"n", b"\xc3\xa9"]


def test_genner_and_the_loop_write_the_same_tokens(tmp_path: Path) -> None:
    workload = Workload("two", tuple(news()[:2]))
    kept = Kept(tmp_path / "kept.json", None, {})
    with ExitStack() as stack:
        bench = Bench(hub.BUNDLED, Namespace(llama_server=None, threads=1), kept, stack)
        lengths, near_ties = bench._check("", workload, trained=True)
        texts = {
            name: [Text(*text) for text in kept.get(name, list)] for name in ("texts of the loop", "texts of genner")
        }
    assert near_ties <= 1
    assert lengths == [len(text.ends) for text in texts["texts of genner"]]
    for text in texts["texts of the loop"]:
        assert b"".join(text.pieces).decode() == text.text
    assert [len(text.ends) for text in texts["texts of the loop"]] == lengths
