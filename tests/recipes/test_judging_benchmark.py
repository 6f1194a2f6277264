"""benchmarks/judging.py: the candidates are what they are said to be, and all of them are asked about."""

from __future__ import annotations

import judging

from genner_cli import hub
from genner_cli.engine.model import Model


def test_candidates_are_words_of_the_texts_and_each_is_one_question() -> None:
    found = judging.proposed(900)
    assert sum(len(asked) for _, asked in found) == 900
    assert {len(asked) for _, asked in found} == {3}
    assert all(text[each.start : each.end].strip() for text, asked in found for each in asked)
    with Model(hub.BUNDLED) as model:
        assert len(list(judging.questions(found[:5], model))) == 15
