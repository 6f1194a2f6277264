"""A format is one file: a module beside the others is known everywhere, and imported only when it is needed."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import test_formats
import test_formats_parse
import test_formats_walks
import test_instructing
import test_probing
import test_scoring_official
from labelled import read

from genner_cli import formats
from genner_cli.files.annotations import ANNOTATION_FORMATS, AnnotationFormat, input_format
from genner_cli.formats import FORMATS, OutputFormat
from genner_cli.types import Entity

REGISTERED = Path(__file__).parent / "data" / "registered"
NAME = "angled"


@pytest.fixture(scope="module", autouse=True)
def _registered() -> Iterator[None]:
    """The output format of the folder stands beside genner's own."""
    formats.__path__.append(str(REGISTERED / "formats"))
    yield
    formats.__path__.remove(str(REGISTERED / "formats"))


def genner(*args: object) -> subprocess.CompletedProcess[str]:
    """The real command, in a process in which both packages have the folder's modules."""
    code = (
        "import genner_cli.formats as f, genner_cli.files.annotations as a\n"
        f"f.__path__.append({str(REGISTERED / 'formats')!r}); a.__path__.append({str(REGISTERED / 'annotations')!r})\n"
        "from genner_cli.commands import main\n"
        "main()"
    )
    return subprocess.run([sys.executable, "-c", code, *map(str, args)], capture_output=True, text=True)


def loaded(code: str) -> set[str]:
    """The modules of a process that ran the code."""
    code = f"{code}\nimport sys; print(*sys.modules)"
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())


def test_every_module_is_a_format() -> None:
    assert all(isinstance(each, OutputFormat) for each in FORMATS.values())
    assert all(isinstance(each, AnnotationFormat) for each in ANNOTATION_FORMATS.values())
    assert NAME in FORMATS
    assert "shared" not in FORMATS
    with pytest.raises(KeyError):
        FORMATS["__init__"]


@pytest.mark.parametrize("depth", [1, 4])
def test_a_registered_output_format_keeps_the_contract_of_render_lock_grammar_and_parse(depth: int) -> None:
    test_formats.test_parse_gives_back_what_render_wrote_and_render_names_the_rest(NAME, depth)
    test_formats.test_rendering_what_was_kept_loses_nothing_more_and_writes_the_same(NAME, depth)
    test_formats.test_lock_accepts_a_rendering_byte_by_byte_and_is_finished_at_its_end_only(NAME, depth)
    test_formats.test_grammar_accepts_a_rendering_in_llama_cpp(NAME, depth)
    test_formats.test_a_text_without_entities_survives(NAME)
    test_formats.test_grammar_reads_characters_that_are_cut_into_bytes(NAME)
    test_formats_walks.test_random_walk_ends_in_time_and_says_only_what_is_true(NAME, depth)
    test_formats_walks.test_from_every_state_some_way_leads_to_the_end_within_the_promised_tokens(NAME, depth, None)
    test_formats_walks.test_a_long_text_full_of_entities_takes_little_time(NAME)


def test_a_registered_output_format_can_be_read_and_scored_like_the_others() -> None:
    test_formats_parse.test_arbitrary_strings_raise_nothing_but_data_error(NAME)
    test_formats_parse.test_a_damaged_rendering_gives_no_entity_that_is_not_in_the_text(NAME)
    test_instructing.test_an_instruction_names_its_labels_with_their_definitions(NAME)
    test_probing.test_what_a_format_says_of_the_text_is_claimed_and_not_invented(NAME)
    test_scoring_official.test_what_should_have_been_written_has_no_errors(NAME)
    test_scoring_official.test_every_entity_of_a_plain_text_is_counted(NAME)
    text = "< Ann | Bob > met Ann."
    output = FORMATS[NAME]
    assert output.parse_loosely("< Ann | Bob > met <Ann|PER>.", text, ["PER"]) == [Entity(18, 21, "PER", "Ann")]


def test_the_command_line_knows_a_registered_output_format() -> None:
    run = genner("grammar", "--format", NAME, "--types", "PER")
    assert (run.returncode, run.stdout) == (0, FORMATS[NAME].grammar(["PER"]))
    assert NAME in genner("extract", "--help").stdout


def test_the_command_converts_to_and_from_a_registered_annotation_format(tmp_path: Path) -> None:
    record = {"id": 7, "text": "Ann\tmet Bob.\n", "entities": [{"start": 0, "end": 3, "label": "PER", "text": "Ann"}]}
    (tmp_path / "in.jsonl").write_text(json.dumps(record) + "\n")
    run = genner("data", "convert", tmp_path / "in.jsonl", tmp_path / "out.tabbed")
    assert (run.returncode, "fields 'id': 1 " in run.stderr) == (0, True)
    assert (tmp_path / "out.tabbed").read_text() == '"Ann\\tmet Bob.\\n"\t[[0, 3, "PER"]]\n'
    assert genner("data", "convert", tmp_path / "out.tabbed", tmp_path / "back.jsonl").returncode == 0
    assert read(tmp_path / "back.jsonl") == [{"text": record["text"], "entities": record["entities"]}]
    run = genner("data", "stats", tmp_path / "out.tabbed", "--json")  # by its suffix
    assert json.loads(run.stdout)["documents"] == 1
    (tmp_path / "bad.tabbed").write_text("no tab\n")
    run = genner("data", "convert", tmp_path / "bad.tabbed", "-", "--to", "jsonl")
    assert (run.returncode, "bad.tabbed:1: is not a text and entities" in run.stderr) == (1, True)
    shown = genner("data", "convert", "--help").stdout
    assert "tabbed" in re.sub(r"[\s│]", "", shown)  # a long list is broken wherever a line ends


def test_reading_json_lines_loads_no_other_annotation_format(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "Ann"}\n')
    modules = loaded(
        "from genner_cli.files.reading import expand, read_documents\n"
        f"assert len(list(read_documents(expand([{str(tmp_path / 'a.jsonl')!r}])))) == 1"
    )
    folder = "genner_cli.files.annotations."
    assert {name.removeprefix(folder) for name in modules if name.startswith(folder)} == {"jsonl"}
    assert not modules & {"pyarrow", "spacy", "fsspec"}


def test_names_of_formats_are_known_without_their_modules() -> None:
    modules = loaded("from genner_cli.commands.data.convert import AnnotationFormatName; AnnotationFormatName('csv')")
    assert not {name for name in modules if name.startswith(("genner_cli.formats.", "genner_cli.files.annotations."))}


def test_a_format_is_loaded_by_its_suffix() -> None:
    assert input_format("-") is input_format("a.ndjson.gz") is ANNOTATION_FORMATS["jsonl"]
    assert input_format("a.CONLL.zst") is ANNOTATION_FORMATS["conll"]
    assert input_format("a.csv") is input_format("a.spacy") is input_format("a") is None
