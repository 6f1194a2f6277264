"""The output head: a few logits from the hidden states are those that llama.cpp gives in full."""

from __future__ import annotations

import ctypes
import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from asking import HOSTILE, LITERARY, NOISE, assert_same_texts, news, request, run
from conftest import ONE_THREAD
from numpy.typing import NDArray
from random_model import write_random_model

from convert.quantize import quantize
from genner_cli.engine import head
from genner_cli.engine.context import Context
from genner_cli.engine.gguf_header import read_header
from genner_cli.engine.head import OutputHead
from genner_cli.engine.model import Model

TEXTS = [*news()[:12], *LITERARY, *HOSTILE]
SOME = list(range(0, 4000, 7))


def logits(context: Context, ids: Sequence[int], *, few: bool) -> NDArray[np.float32]:
    """Those of SOME, at every position. Shape: (positions, len(SOME))."""
    context.add(ids, 0, 1, len(ids), few=few)
    rows = context.decode()
    assert rows is not None
    found = np.array([row[SOME] for row in rows])
    assert all(isinstance(row, np.ndarray) != few for row in rows)
    context.forget(1)
    return found


def difference(model: Model) -> float:
    """The largest difference between few logits and all of them, in standard deviations."""
    asked = request(model, news()[0])
    ids = model.prompt(asked.prefix + asked.rest)
    context = Context(model, ONE_THREAD, 1)
    whole, few, again = (logits(context, ids, few=few) for few in (False, True, False))
    context.close()
    assert np.array_equal(whole, again), "stopping early left something behind"
    return float(np.abs(few - whole).max() / whole.std())


def test_few_logits_of_the_bundled_model_are_those_of_llama(bundled: Model) -> None:
    """What remains is that llama.cpp quantizes the hidden states for its product too."""
    assert 0 < difference(bundled) < 0.03


@pytest.mark.parametrize(("type", "most"), [("F16", 0.002), ("BF16", 0.02), ("Q8_0", 0.03), ("Q4_0", 0.05)])
def test_few_logits_are_those_of_llama_in_other_types(
    type: str, most: float, random_path: Path, tmp_path: Path
) -> None:
    with Model(quantize(random_path, tmp_path / "model.gguf", type), gpu_layers=0) as model:
        assert OutputHead.known(model.header)
        assert difference(model) < most


def test_completions_are_those_under_all_logits(bundled: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    requests = [request(bundled, text, depth=depth) for text in TEXTS for depth in (1, 4)]
    few = run(bundled, requests, replace(ONE_THREAD, slots=4))
    monkeypatch.setattr(OutputHead, "known", lambda header: False)
    whole = run(bundled, requests, replace(ONE_THREAD, slots=4))
    assert_same_texts(few, whole)
    for one, other in zip(few, whole, strict=True):
        if one.text == other.text:
            pairs = zip(one.log_probabilities, other.log_probabilities, strict=True)
            assert all(abs((a or 0.0) - (b or 0.0)) < 2 * NOISE for a, b in pairs)


def test_formats_that_need_all_logits_get_them_beside_one_that_does_not(bundled: Model) -> None:
    requests = [request(bundled, text, format=format) for text in TEXTS for format in ("inserted", "xml")]
    mixed = run(bundled, requests, replace(ONE_THREAD, slots=4))
    alone = run(bundled, requests, replace(ONE_THREAD, slots=1))
    assert_same_texts(mixed, alone)


@pytest.mark.parametrize(
    "change", [{"general.architecture": "gemma2"}, {"llama.final_logit_softcapping": "30"}, {"llama.logit_scale": "2"}]
)
def test_a_model_that_does_more_after_the_product_gets_all_logits(change: dict[str, str], tmp_path: Path) -> None:
    header = read_header(write_random_model(tmp_path / "model.gguf", change=change))
    assert not OutputHead.known(replace(header, metadata={**header.metadata, **change}))


def test_a_matrix_of_plain_numbers_is_left_to_llama(random_path: Path) -> None:
    assert not OutputHead.known(read_header(random_path))


@pytest.fixture
def unchecked() -> Iterator[None]:
    """The layout is compared anew, here and by whoever comes next."""
    head._traits_hold.cache_clear()
    yield
    head._traits_hold.cache_clear()


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("at", range(5))
def test_traits_of_another_layout_are_not_trusted_which_is_logged_once(
    at: int, bundled: Model, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As if a later llama.cpp had one more field before the first, the second ... or the fifth of them."""
    assert OutputHead.known(bundled.header)
    head._traits_hold.cache_clear()
    fields = list(head._Traits._fields_)

    class Moved(ctypes.Structure):
        _fields_ = (*fields[:at], ("added", ctypes.c_int64), *fields[at:])

    monkeypatch.setattr(head._traits, "restype", ctypes.POINTER(Moved))
    with caplog.at_level(logging.WARNING, "genner"):
        assert not OutputHead.known(bundled.header)
        assert not OutputHead.known(bundled.header)
    assert len(caplog.records) == 1
