"""The canonical form of every format, written out by hand; what cannot be said, and why."""

from __future__ import annotations

import pytest

from genner_cli import locking
from genner_cli.formats import FORMATS
from genner_cli.types import Entity, Range

SMITH = "John Smith reported from New York."
SMITH_ENTITIES = [Entity(25, 33, "LOC", "New York"), Entity(0, 10, "PER", "John Smith")]
NESTED = "Bank of New York in York"
NESTED_ENTITIES = [
    Entity(8, 16, "LOC", "New York"),
    Entity(0, 16, "ORG", "Bank of New York"),
    Entity(12, 16, "LOC", "York"),
    Entity(20, 24, "LOC", "York"),
]
LABELS = ("PER", "ORG", "LOC", "MISC")


def entity(text: str, mention: str, label: str, number: int = 1) -> Entity:
    """The entity of the `number`-th place where the mention stands, counted by hand."""
    start = -1
    for _ in range(number):
        start = text.index(mention, start + 1)
    return Entity(start, start + len(mention), label, mention)


@pytest.mark.parametrize(
    ("name", "completion"),
    [
        ("bracketed", "[John Smith | PER] reported from [New York | LOC]."),
        ("xml", "<PER>John Smith</PER> reported from <LOC>New York</LOC>."),
        ("category", '{"PER": ["John Smith"], "ORG": [], "LOC": ["New York"], "MISC": []}'),
        (
            "occurrence",
            '[{"text": "John Smith", "label": "PER", "occurrence_index": 1},'
            ' {"text": "New York", "label": "LOC", "occurrence_index": 1}]',
        ),
        (
            "offset",
            '[{"text": "John Smith", "label": "PER", "start": 0, "end": 10},'
            ' {"text": "New York", "label": "LOC", "start": 25, "end": 33}]',
        ),
        ("inserted", "⟦John Smith⦂PER⟧ reported from⟦ New York⦂LOC⟧."),
    ],
)
def test_flat_entities_are_written_as_in_the_paper(name: str, completion: str) -> None:
    assert FORMATS[name].render(SMITH, SMITH_ENTITIES, LABELS) == (completion, ())
    assert FORMATS[name].parse(completion, SMITH) == SMITH_ENTITIES[::-1]


@pytest.mark.parametrize(
    ("name", "completion"),
    [
        ("bracketed", "[Bank of [New [York | LOC] | LOC] | ORG] in [York | LOC]"),
        ("xml", "<ORG>Bank of <LOC>New <LOC>York</LOC></LOC></ORG> in <LOC>York</LOC>"),
        ("category", '{"PER": [], "ORG": ["Bank of New York"], "LOC": ["New York", "York", "York"], "MISC": []}'),
        (
            "occurrence",
            '[{"text": "Bank of New York", "label": "ORG", "occurrence_index": 1},'
            ' {"text": "New York", "label": "LOC", "occurrence_index": 1},'
            ' {"text": "York", "label": "LOC", "occurrence_index": 1},'
            ' {"text": "York", "label": "LOC", "occurrence_index": 2}]',
        ),
        (
            "offset",
            '[{"text": "Bank of New York", "label": "ORG", "start": 0, "end": 16},'
            ' {"text": "New York", "label": "LOC", "start": 8, "end": 16},'
            ' {"text": "York", "label": "LOC", "start": 12, "end": 16},'
            ' {"text": "York", "label": "LOC", "start": 20, "end": 24}]',
        ),
        ("inserted", "⟦Bank of⟦ New⟦ York⦂LOC⟧⦂LOC⟧⦂ORG⟧ in⟦ York⦂LOC⟧"),
    ],
)
def test_nested_entities_are_written_from_the_outermost_inwards(name: str, completion: str) -> None:
    rendering = FORMATS[name].render(NESTED, NESTED_ENTITIES, LABELS, depth=4)
    assert rendering == (completion, ())
    assert set(FORMATS[name].parse(completion, NESTED)) == set(NESTED_ENTITIES)


@pytest.mark.parametrize(
    ("name", "completion"),
    [
        ("bracketed", "[[Paris | LOC] | GPE]"),
        ("xml", "<GPE><LOC>Paris</LOC></GPE>"),
        ("occurrence", '[{"text": "Paris", "label": "GPE", "occurrence_index": 1}, {"text": "Paris", "label": "LOC",'),
        ("offset", '[{"text": "Paris", "label": "GPE", "start": 0, "end": 5}, {"text": "Paris", "label": "LOC",'),
        ("inserted", "⟦⟦Paris⦂LOC⟧⦂GPE⟧"),
    ],
)
def test_of_equal_spans_the_label_that_sorts_first_is_outermost(name: str, completion: str) -> None:
    entities = [Entity(0, 5, "LOC", "Paris"), Entity(0, 5, "GPE", "Paris")]
    rendering = FORMATS[name].render("Paris", entities, ["LOC", "GPE"], depth=2)
    assert rendering.completion.startswith(completion)
    assert rendering.left_out == ()


@pytest.mark.parametrize("name", FORMATS)
def test_ordinary_text_stands_unchanged(name: str) -> None:
    text = "“Naïve” 100% — it's #1 (see p. 3): 北京, $5/€6; x = {y}! שלום 👩‍👧 ~^`@*+?"
    bare = {"category": '{"X": []}', "occurrence": "[]", "offset": "[]", "open": "[]"}
    assert FORMATS[name].render(text, [], ["X"]) == (bare.get(name, text), ())


@pytest.mark.parametrize(
    ("name", "text", "completion"),
    [
        ("bracketed", r"a[1] | \n", r"a\[1\] \| \\n"),
        ("bracketed", "[x | PER]", r"\[x \| PER\]"),
        ("bracketed", "\\[", r"\\\["),
        ("xml", "<b> & &amp; >", "&lt;b> &amp; &amp;amp; >"),
        ("xml", "</PER>", "&lt;/PER>"),
        ("inserted", "⟦⦂⟧⧵", "⧵o⧵t⧵c⧵⧵"),
        ("inserted", "⧵o", "⧵⧵o"),
        ("inserted", "[<\\", "[<\\"),
        ("category", 'a "b\\', r'{"X": ["a \"b\\"]}'),
        ("category", "a\t\n\x01\x7fb", '{"X": ["a\\t\\n\\u0001\x7fb"]}'),
        ("occurrence", 'a"\u0301', '[{"text": "a\\"\u0301", "label": "X", "occurrence_index": 1}]'),
        ("offset", "😀\r", '[{"text": "😀", "label": "X", "start": 0, "end": 1}]'),
    ],
)
def test_escapes(name: str, text: str, completion: str) -> None:
    listed = [Entity(0, len(text.strip()), "X", text.strip())] if completion[0] in "{[" and '"' in completion else []
    assert FORMATS[name].render(text, listed, ["X"]) == (completion, ())
    assert FORMATS[name].parse(completion, text) == listed


@pytest.mark.parametrize(
    ("text", "start", "completion"),
    [
        ("x Bob", 2, "x⟦ Bob⦂P⟧"),
        ("x  Bob", 3, "x ⟦ Bob⦂P⟧"),
        ("x\nBob", 2, "x\n⟦Bob⦂P⟧"),
        ("x \tBob", 3, "x \t⟦Bob⦂P⟧"),
        ("x\t Bob", 3, "x\t⟦ Bob⦂P⟧"),
        ("x\u00a0Bob", 2, "x\u00a0⟦Bob⦂P⟧"),
        (" Bob", 1, "⟦ Bob⦂P⟧"),
        ("xBob", 1, "x⟦Bob⦂P⟧"),
        ("⟦Bob", 1, "⧵o⟦Bob⦂P⟧"),
    ],
)
def test_an_inserted_opening_takes_one_blank_in(text: str, start: int, completion: str) -> None:
    bob = [Entity(start, start + 3, "P", "Bob")]
    assert FORMATS["inserted"].render(text, bob, ["P"]) == (completion, ())
    assert FORMATS["inserted"].parse(completion, text) == bob


@pytest.mark.parametrize("name", ["bracketed", "xml", "inserted"])
@pytest.mark.parametrize(("start", "end"), [(0, 1), (0, 2), (1, 3), (2, 3)])
def test_an_inline_format_writes_any_characters_without_spaces_at_their_ends(name: str, start: int, end: int) -> None:
    parts_of_words = [Entity(start, end, "X", "abc"[start:end])]
    assert FORMATS[name].render("abc", parts_of_words, ["X"]).left_out == ()


@pytest.mark.parametrize(
    ("name", "text", "entities", "depth", "reasons"),
    [
        ("xml", "a b", [Entity(0, 1, "Z", "a")], 1, ["label 'Z'"]),
        ("xml", "a b", [Entity(0, 1, "X", "b")], 1, ["'a' at 0:1, not 'b'"]),
        ("xml", "a b", [Entity(2, 4, "X", "b")], 1, ["2:4 "]),
        ("xml", "a b", [Entity(-1, 1, "X", "")], 1, ["-1:1 "]),
        ("xml", "a b", [Entity(1, 1, "X", "")], 1, ["1:1 "]),
        ("xml", "a b", [Entity(1, 3, "X", " b")], 1, ["white space"]),
        ("xml", "a b", [Entity(0, 1, "X", "a")] * 3, 4, ["twice"] * 2),
        ("xml", "a b c", [Entity(0, 3, "X", "a b"), Entity(2, 5, "X", "b c")], 4, ["crosses 'a b'"]),
        ("xml", "a b", [Entity(0, 3, "X", "a b"), Entity(0, 1, "X", "a")], 1, ["within"]),
        ("xml", "a b", [Entity(0, 3, "X", "a b"), Entity(0, 3, "Y", "a b")], 1, ["within"]),
        (
            "xml",
            "a b",
            [Entity(0, 3, "X", "a b"), Entity(0, 3, "Y", "a b"), Entity(0, 1, "X", "a")],
            2,
            ["deeper than 2"],
        ),
        ("offset", "abc", [Entity(0, 2, "X", "ab")], 1, ["word boundaries"]),
        ("occurrence", "abc", [Entity(0, 2, "X", "ab")], 1, ["word boundaries"]),
        ("category", "abc", [Entity(0, 2, "X", "ab")], 1, ["word boundaries"]),
        ("category", "a a", [Entity(2, 3, "X", "a")], 1, ["listing 'a' "]),
        (
            "category",
            "a a",
            [Entity(0, 1, "Y", "a"), Entity(2, 3, "X", "a")],
            1,
            ["listing 'a' "],
        ),
        (
            "category",
            "a",
            [Entity(0, 1, "Y", "a"), Entity(0, 1, "X", "a")],
            2,
            ["listing 'a' "],
        ),
    ],
)
def test_what_is_left_out_has_its_reason(
    name: str, text: str, entities: list[Entity], depth: int, reasons: list[str]
) -> None:
    rendering = FORMATS[name].render(text, entities, ["X", "Y"], depth=depth)
    assert len(rendering.left_out) == len(reasons)
    assert all(said in reason for (_, reason), said in zip(rendering.left_out, reasons, strict=True))


def test_of_crossing_entities_the_first_and_of_those_the_longest_stays() -> None:
    entities = [Entity(2, 5, "X", "b c"), Entity(0, 1, "X", "a"), Entity(0, 3, "X", "a b")]
    rendering = FORMATS["bracketed"].render("a b c", entities, ["X"], depth=4)
    assert rendering.completion == "[[a | X] b | X] c"
    assert [lost.entity for lost in rendering.left_out] == entities[:1]


def test_category_json_counts_listings_over_all_labels() -> None:
    text = "Paris and Paris and Paris"
    entities = [entity(text, "Paris", "PER"), entity(text, "Paris", "LOC", 2), entity(text, "Paris", "LOC", 3)]
    completion = '{"PER": ["Paris"], "LOC": ["Paris", "Paris"]}'
    assert FORMATS["category"].render(text, entities, ["PER", "LOC"]) == (completion, ())
    assert FORMATS["category"].parse(completion, text) == entities


def test_occurrences_are_counted_between_word_borders_only_and_may_overlap() -> None:
    text = "artist art a-a-a"
    rendering = FORMATS["occurrence"].render(
        text, [entity(text, "art", "X", 2), entity(text, "a-a", "X", 2)], ["X"], depth=4
    )
    assert rendering.completion == (
        '[{"text": "art", "label": "X", "occurrence_index": 1}, {"text": "a-a", "label": "X", "occurrence_index": 2}]'
    )


@pytest.mark.parametrize(
    ("name", "completion", "ranges"),
    [
        ("bracketed", "[a [b | X] | Y]", [((0, 3), (10, 15)), ((3, 10),)]),
        ("xml", "<Y>a <X>b</X></Y>", [((0, 5), (13, 17)), ((5, 13),)]),
        ("inserted", "⟦a⟦ b⦂X⟧⦂Y⟧", [((0, 2), (8, 11)), ((2, 8),)]),
        ("category", '{"X": ["b"], "Y": ["a b"]}', [((19, 24),), ((7, 10),)]),
        (
            "occurrence",
            '[{"text": "b", "label": "X", "occurrence_index": 1},'
            ' {"text": "a b", "label": "Y", "occurrence_index": 1}]',
            [((53, 105),), ((1, 51),)],
        ),
        (
            "offset",
            '[{"text": "a b", "label": "Y", "start": 0, "end": 3}, {"text": "b", "label": "X", "start": 2, "end": 3}]',
            [((1, 52),), ((54, 103),)],
        ),
    ],
)
def test_an_entity_knows_which_ranges_of_the_completion_say_it(
    name: str, completion: str, ranges: list[tuple[tuple[int, int], ...]]
) -> None:
    entities = FORMATS[name].parse(completion, "a b")
    assert [e.rendering for e in entities] == [tuple(Range(*r) for r in parts) for parts in ranges]


@pytest.mark.parametrize("name", FORMATS)
def test_inside_is_true_from_the_first_to_the_last_byte_of_an_entity(name: str) -> None:
    output = FORMATS[name]
    completion = output.render("a b c", [Entity(2, 3, "X", "b")], ["X"]).completion
    (kept,) = output.parse(completion, "a b c")
    (said,) = kept.rendering
    lock = output.lock("a b c", ["X"])
    places = locking.begin(lock)
    inside = []
    for number, char in enumerate(completion):
        inside.append(locking.inside(lock, places))
        places = locking.advance(lock, places, char.encode())
        assert places, completion[: number + 1]
    assert all(inside[said.start + 1 : said.end])
