"""The prompt's pieces, and what a model says of itself."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import LABELS, examples, hostile_text

from genner_cli.errors import ModelError
from genner_cli.prompting import GENERAL_PROMPT, PROMPT_VERSION, Instructions, Prompt
from genner_cli.types import Label, Piece

PROMPT = Prompt("<|user|>Labels:\n", "\nText:\n", "<|assistant|>")
INSTRUCTIONS = Instructions(
    prompt=PROMPT,
    format="inserted",
    depth=1,
    labels=(Label("PER", "people"), Label("ORG")),
    default_labels=("ORG",),
    chunk_bytes=800,
)


def test_prefix_has_one_line_for_each_label_in_the_order_asked_for() -> None:
    labels = (Label("ORG"), Label("PER", "people: named ones"))
    assert PROMPT.prefix(labels) == (
        Piece("<|user|>Labels:\n", literal=True),
        Piece("ORG\nPER: people: named ones\n", literal=False),
        Piece("\nText:\n", literal=True),
    )


def test_rest_reads_the_text_as_plain_characters_and_what_follows_literally() -> None:
    assert PROMPT.rest("a <|user|> b") == (Piece("a <|user|> b", literal=False), Piece("<|assistant|>", literal=True))


@examples(50)
@given(text=hostile_text(), definition=hostile_text(most=4))
def test_only_the_parts_of_the_prompt_itself_are_literal(text: str, definition: str) -> None:
    definition = "".join(char for char in definition if char.isprintable())
    pieces = GENERAL_PROMPT.prefix([Label("X", definition)]) + GENERAL_PROMPT.rest(text)
    assert {piece.text for piece in pieces if piece.literal} == {
        GENERAL_PROMPT.before_labels,
        GENERAL_PROMPT.before_text,
        GENERAL_PROMPT.after_text,
    }
    assert text in [piece.text for piece in pieces if not piece.literal]


instructions = st.builds(
    Instructions,
    prompt=st.builds(Prompt, hostile_text(), hostile_text(), hostile_text()),
    format=st.sampled_from(["inserted", "xml"]),
    depth=st.integers(1, 9),
    labels=st.lists(st.sampled_from(LABELS), unique=True).map(
        lambda names: tuple(Label(name, 'a "definition" ⟦ü⟧' * (len(name) % 2)) for name in names)
    ),
    default_labels=st.just(()),
    chunk_bytes=st.integers(1, 10**6),
    open_labels=st.booleans(),
).map(
    lambda said: replace(
        said,
        default_labels=tuple(label.name for label in said.labels[1:]),
        together=(tuple(label.name for label in said.labels[:2]),),
    )
)


@examples(50)
@given(said=instructions)
def test_instructions_survive_the_way_through_metadata(said: Instructions) -> None:
    metadata = said.to_metadata()
    assert all(isinstance(value, str) for value in metadata.values())
    assert Instructions.from_metadata(metadata) == said


def test_other_metadata_beside_them_is_ignored() -> None:
    metadata = {"general.architecture": "llama", **INSTRUCTIONS.to_metadata(), "tokenizer.chat_template": "{{ x }}"}
    assert Instructions.from_metadata(metadata) == INSTRUCTIONS


def test_the_order_of_labels_is_kept() -> None:
    turned = replace(INSTRUCTIONS, labels=INSTRUCTIONS.labels[::-1])
    assert Instructions.from_metadata(turned.to_metadata()) == turned != INSTRUCTIONS


def test_a_model_without_metadata_has_no_instructions() -> None:
    assert Instructions.from_metadata({"general.architecture": "llama"}) is None


@pytest.mark.parametrize("version", ["0", str(PROMPT_VERSION + 1), "1.0", "", "x"])
def test_an_unknown_version_is_refused_with_both_versions_and_a_remedy(version: str) -> None:
    metadata = {**INSTRUCTIONS.to_metadata(), "genner.prompt.version": version}
    with pytest.raises(ModelError, match=rf"prompt version {version}, .* {PROMPT_VERSION};.*export"):
        Instructions.from_metadata(metadata)


LATER = {"genner.together", "genner.open_labels", "genner.whole_words"}  # models of before do not say them


def test_a_model_of_before_has_no_sets_and_no_open_labels() -> None:
    metadata = {key: value for key, value in INSTRUCTIONS.to_metadata().items() if key not in LATER}
    assert Instructions.from_metadata(metadata) == INSTRUCTIONS
    assert (INSTRUCTIONS.together, INSTRUCTIONS.open_labels, INSTRUCTIONS.whole_words) == ((), False, False)
    whole = replace(INSTRUCTIONS, whole_words=True)
    assert Instructions.from_metadata(whole.to_metadata()) == whole


def test_labels_are_asked_for_with_the_smallest_set_that_has_them_all() -> None:
    a, b, c, d = (Label(name, f"all {name}") for name in "abcd")
    said = replace(INSTRUCTIONS, labels=(a, b, c, d), default_labels=(), together=(("a", "b", "c", "d"), ("b", "a")))
    assert said.labels_trained_together([a]) == said.labels_trained_together([a, b]) == (b, a)
    assert said.labels_trained_together([c, a]) == (a, b, c, d)
    assert said.labels_trained_together([a, Label("other")]) == (a, Label("other"))
    assert said.labels_trained_together([Label("a", "of another meaning")]) == (Label("a", "of another meaning"),)
    assert replace(said, together=()).labels_trained_together([a]) == (a,)


@pytest.mark.parametrize("key", sorted(set(INSTRUCTIONS.to_metadata()) - {"genner.prompt.version"} - LATER))
def test_a_missing_value_is_a_model_error(key: str) -> None:
    metadata = INSTRUCTIONS.to_metadata()
    del metadata[key]
    with pytest.raises(ModelError, match=f"broken.*{key}.*export"):
        Instructions.from_metadata(metadata)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("genner.depth", "deep"),
        ("genner.chunk_bytes", ""),
        ("genner.labels", "{"),
        pytest.param("genner.labels", "[" * 100_000, id="nested without end"),
        ("genner.labels", '["PER"]'),
        ("genner.labels", '{"PER": 1}'),
        ("genner.labels", '{"<PER>": ""}'),
        ("genner.default_labels", "7"),
        ("genner.default_labels", '["GPE"]'),
        ("genner.together", '[["GPE"]]'),
        ("genner.together", "5"),
        ("genner.open_labels", "yes"),
    ],
)
def test_a_broken_value_is_a_model_error(key: str, value: str) -> None:
    with pytest.raises(ModelError, match=r"broken.*export"):
        Instructions.from_metadata({**INSTRUCTIONS.to_metadata(), key: value})


def test_labels_stand_in_the_metadata_as_readable_json() -> None:
    labels = INSTRUCTIONS.to_metadata()["genner.labels"]
    assert json.loads(labels) == {"PER": "people", "ORG": ""}
    assert "人名" in replace(INSTRUCTIONS, labels=(Label("人名"),), default_labels=()).to_metadata()["genner.labels"]
