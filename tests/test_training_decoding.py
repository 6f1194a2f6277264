"""A transformers model as an engine: what it writes is what llama.cpp writes with the same weights."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from asking import HOSTILE, LITERARY, default_labels, instructions_of, news, request
from conftest import ONE_THREAD
from peft import LoraConfig, get_peft_model
from tokenizers.processors import TemplateProcessing
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerFast

from convert.gguf_to_hf import gguf_to_hf
from convert.hf_to_gguf import hf_to_gguf
from genner_cli import hub, locking
from genner_cli.engine import llama as llama_cpp
from genner_cli.engine.engine import Engine
from genner_cli.engine.model import Model
from genner_cli.errors import UsageError
from genner_cli.extraction import extract
from genner_cli.formats import FORMATS, output_format
from genner_cli.generation import Completion, Constraint, Request
from genner_cli.locking import Vocabulary
from genner_cli.running.spec import RunSpec
from genner_cli.tasks import Task
from genner_cli.training import decoding, head
from genner_cli.training.decoding import TorchBackend, TorchDecoder, TorchEngine, evaluate
from genner_cli.training.tokens import Tokens
from genner_cli.types import Document

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]
EXACT = replace(ONE_THREAD, flash_attention=False)
"""Flash attention sums in 16 bits; without it, llama.cpp computes what transformers does."""
TOKENIZER = Path(__file__).parent.parent / "examples" / "bundled_model" / "tokenizer"
TEXTS = [*news()[:2], *LITERARY[:2], *HOSTILE]
SHAPE: dict[str, Any] = {
    "hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 1, "head_dim": 32, "max_position_embeddings": 2048, "pad_token_id": 0,
    "bos_token_id": None, "eos_token_id": None,
}  # fmt: skip


@pytest.fixture(scope="module")
def tokens() -> Tokens:
    return Tokens(AutoTokenizer.from_pretrained(TOKENIZER))


def random_weights(model: PreTrainedModel, spread: float = 4.0) -> PreTrainedModel:
    """Weights with which logits spread like those of a trained model."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, value in model.named_parameters():
            if value.dim() == 1:
                value.uniform_(0.5, 1.5, generator=generator)
            else:
                head = name.startswith(("lm_head", "model.embed_tokens"))
                value.normal_(0, (spread if head else 1.5) / value.shape[1] ** 0.5, generator=generator)
    return model.eval()


def new_model(tokens: Tokens, kind: str = "llama", **options: Any) -> PreTrainedModel:
    config = AutoConfig.for_model(kind, **{**SHAPE, "vocab_size": len(tokens.tokenizer), **options})
    return random_weights(AutoModelForCausalLM.from_config(config))


@pytest.fixture(scope="module")
def llama(tokens: Tokens) -> PreTrainedModel:
    return new_model(tokens, tie_word_embeddings=False)


def export(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, bundled: Model, folder: Path) -> Path:
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "genner.json").write_text(json.dumps(instructions_of(bundled).to_metadata()))
    return hf_to_gguf(folder, folder / "model.gguf")


@contextmanager
def opened(path: Path) -> Iterator[tuple[Model, Engine]]:
    """llama.cpp, with keys and values kept in 32 bits, as transformers keeps them."""

    def parameters(defaults: Any = llama_cpp.llama_context_default_params) -> Any:
        found = defaults()
        found.type_k = found.type_v = llama_cpp.GGML_TYPE_F32
        return found

    with Model(path, gpu_layers=0) as model, pytest.MonkeyPatch.context() as patch:
        patch.setattr(llama_cpp, "llama_context_default_params", parameters)
        with Engine(model, EXACT) as engine:
            yield model, engine


@pytest.fixture(scope="module")
def pair(
    llama: PreTrainedModel, tokens: Tokens, bundled: Model, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Model, Engine]]:
    with opened(export(llama, tokens.tokenizer, bundled, tmp_path_factory.mktemp("model"))) as pair:
        yield pair


@pytest.fixture(scope="module")
def exported(pair: tuple[Model, Engine]) -> Model:
    return pair[0]


@pytest.fixture(scope="module")
def engine(pair: tuple[Model, Engine]) -> Engine:
    return pair[1]


def in_order(completions: Iterator[tuple[int, Completion]]) -> list[Completion]:
    found = dict(completions)
    return [found[number] for number in range(len(found))]


def assert_equal(found: Sequence[Completion], expected: Sequence[Completion]) -> None:
    for one, other in zip(found, expected, strict=True):
        assert (one.text, one.ends, one.prompt_tokens) == (other.text, other.ends, other.prompt_tokens)
        assert (one.error is None) == (other.error is None)
        for mine, theirs in zip(one.log_probabilities, other.log_probabilities, strict=True):
            assert (mine is None) == (theirs is None)
            assert mine == pytest.approx(theirs, abs=1e-3)


@pytest.mark.parametrize(("format", "depth"), [*((format, 3) for format in FORMATS), ("xml", 1), ("inserted", 1)])
def test_completions_are_those_of_llama_cpp(
    llama: PreTrainedModel, tokens: Tokens, exported: Model, engine: Engine, format: str, depth: int
) -> None:
    requests = [request(exported, text, format=format, depth=depth) for text in TEXTS]
    requests.append(request(exported, "Ann met Bob in Ely on Monday.", format=format, depth=depth, allowance=0))
    expected = in_order(engine.generate(requests))
    found = in_order(TorchEngine(llama, tokens, batch=4).generate(requests))
    assert_equal(found, expected)
    labels = [label.name for label in default_labels(exported)]
    entities = [e for c, t in zip(found, TEXTS, strict=False) for e in output_format(format).parse(c.text, t)]
    assert {entity.label for entity in entities} <= set(labels)
    assert len(entities) > 2, "else little is shown"
    if requests[0].lock.by_token:
        assert [c.margin for c in found] == pytest.approx([c.margin for c in expected], abs=1e-2)
    else:
        assert all(mine.margin <= theirs.margin + 1e-2 for mine, theirs in zip(found, expected, strict=True))


def test_the_bundled_model_writes_in_transformers_what_it_writes_in_llama_cpp(tmp_path: Path) -> None:
    folder = gguf_to_hf(hub.BUNDLED, tmp_path / "model")
    trained = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    with opened(hf_to_gguf(folder, tmp_path / "model.gguf")) as (model, engine):
        texts = [*news()[:3], LITERARY[0]]
        requests = [request(model, text, format=format, depth=2) for text in texts for format in ("inserted", "xml")]
        expected = in_order(engine.generate(requests))
    found = in_order(TorchEngine(trained, Tokens(AutoTokenizer.from_pretrained(folder))).generate(requests))
    assert_equal(found, expected)
    assert sum(completion.text.count("⟧") for completion in found) >= 5


def test_a_prompt_begins_with_bos_where_the_tokenizer_says_so(
    llama: PreTrainedModel, tokens: Tokens, bundled: Model, tmp_path: Path
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(TOKENIZER, bos_token="<|labels|>")
    bos = ("<|labels|>", tokenizer.bos_token_id)
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing("<|labels|> $A", None, [bos])
    begun = Tokens(tokenizer)
    assert begun.begins == [tokenizer.bos_token_id]
    with opened(export(llama, tokenizer, bundled, tmp_path)) as (model, engine):
        requests = requests_of(model, ("xml",))[:4]
        found = in_order(TorchEngine(llama, begun).generate(requests))
        assert_equal(found, in_order(engine.generate(requests)))
    without = in_order(TorchEngine(llama, tokens).generate(requests))
    assert [completion.text for completion in found] != [completion.text for completion in without]


def requests_of(
    exported: Model, formats: Sequence[str] = ("xml", "category", "inserted"), **options: Any
) -> list[Request]:
    return [request(exported, text, format=format, depth=2, **options) for text in TEXTS[1:] for format in formats]


def test_an_allowance_ends_completions_as_in_llama_cpp(
    llama: PreTrainedModel, tokens: Tokens, exported: Model, engine: Engine
) -> None:
    requests = requests_of(exported, allowance=7)
    found = in_order(TorchEngine(llama, tokens).generate(requests))
    assert_equal(found, in_order(engine.generate(requests)))
    for completion, asked in zip(found, requests, strict=True):
        lock = asked.lock.segmented(tokens.pieces)
        assert len(completion.ends) <= locking.remaining(lock, locking.begin(lock)) + 7
    freely = in_order(TorchEngine(llama, tokens).generate(requests_of(exported)))
    assert sum(one.text != other.text for one, other in zip(found, freely, strict=True)) > 5


def test_the_number_of_sequences_side_by_side_changes_nothing(
    llama: PreTrainedModel, tokens: Tokens, exported: Model
) -> None:
    others = [label for label in instructions_of(exported).labels if label not in default_labels(exported)]
    requests = requests_of(exported, ("xml", "inserted"))[::2]
    requests += [request(exported, text, labels=others[:4]) for text in TEXTS[::3]]
    alone = in_order(TorchEngine(llama, tokens, batch=1).generate(requests))
    for batch in (3, 16):
        assert_equal(in_order(TorchEngine(llama, tokens, batch=batch).generate(requests)), alone)


def test_many_requests_are_done_a_window_at_a_time_and_each_comes_once(
    llama: PreTrainedModel, tokens: Tokens, exported: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoding, "WINDOW", 2)
    drawn = 0

    def requests() -> Iterator[Request]:
        nonlocal drawn
        for text in TEXTS:
            drawn += 1
            yield request(exported, text)

    found = TorchEngine(llama, tokens, batch=2).generate(requests())
    numbers = [next(found)[0]]
    assert drawn == 4
    numbers += [number for number, _ in found]
    assert sorted(numbers) == list(range(len(TEXTS)))
    assert set(numbers[:4]) == {0, 1, 2, 3}


def test_a_request_that_cannot_be_done_is_an_error_of_its_own(
    llama: PreTrainedModel, tokens: Tokens, exported: Model
) -> None:
    lacking = copy.copy(tokens)
    pieces = [None if piece and "ש".encode()[:1] in piece else piece for piece in tokens.vocabulary.pieces]
    lacking.vocabulary = Vocabulary(pieces, tokens.vocabulary.added)
    texts = ["Ann went to Ely.", "She said that שלום is a word.", "Ann went to Ely. " * 300, "Bob, too."]
    requests = [request(exported, text, format="xml") for text in texts]
    found = in_order(TorchEngine(llama, lacking, batch=4).generate(requests))
    assert [completion.error is None for completion in found] == [True, False, False, True]
    assert "vocabulary" in (found[1].error or "")
    assert "tokens and" in (found[2].error or "")
    good = [requests[0], requests[3]]
    assert_equal([found[0], found[3]], in_order(TorchEngine(llama, tokens).generate(good)))


@pytest.mark.parametrize("constraint", [Constraint.FORMAT, Constraint.OFF])
def test_another_constraint_is_a_usage_error(
    llama: PreTrainedModel, tokens: Tokens, exported: Model, constraint: Constraint
) -> None:
    with pytest.raises(UsageError, match="'source' only"):
        list(TorchEngine(llama, tokens).generate([request(exported, "Ann", constraint=constraint)]))


def test_a_vocabulary_without_the_markup_is_a_usage_error(
    llama: PreTrainedModel, tokens: Tokens, exported: Model
) -> None:
    without = copy.copy(tokens)
    without.vocabulary = Vocabulary(tokens.vocabulary.pieces, {})
    with pytest.raises(UsageError, match="no markup tokens"):
        list(TorchEngine(llama, without).generate([request(exported, "Ann", format="inserted")]))


def naively(model: PreTrainedModel, tokens: Tokens, asked: Request) -> Completion:
    """One request without cache, batch and padding, and with transformers' own logits."""
    prompt = tokens.begins + tokens.prompt(asked.prefix) + tokens.prompt(asked.rest)
    decoder = TorchDecoder(asked, tokens, 10_000)
    ids = [*prompt, *iter(decoder.force, None)]
    while not decoder.done:
        with torch.no_grad():
            logits = model(torch.tensor([ids]), use_cache=False).logits[0, -1, decoder.legal]
        ids += [decoder.take(logits.tolist()), *iter(decoder.force, None)]
    return decoder.completion(len(tokens.prompt(asked.rest)))


WINDOWED = {"sliding_window": 24, "layer_types": ["sliding_attention", "full_attention"]}
KINDS: dict[str, dict[str, Any]] = {
    "llama": {"tie_word_embeddings": True},
    "mistral": {"sliding_window": 24},
    "qwen2": {},
    "qwen3": {},
    "gemma2": {**WINDOWED, "final_logit_softcapping": 5.0, "query_pre_attn_scalar": 32},
    "gemma3_text": {**WINDOWED, "query_pre_attn_scalar": 32},
    "granite": {"logits_scaling": 3.0, "attention_multiplier": 0.2, "embedding_multiplier": 2.0},
    "granitemoehybrid": {
        "layer_types": ["attention", "attention"], "num_local_experts": 0, "logits_scaling": 3.0,
        "shared_intermediate_size": 64, "position_embedding_type": "rope",
    },
    "phi3": {"sliding_window": 24},
    "smollm3": {},
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_cache_and_batch_give_what_a_model_gives_without_them(tokens: Tokens, exported: Model, kind: str) -> None:
    model = new_model(tokens, kind, **KINDS[kind])
    texts = ["Ann met the Duke of Ely.", "Zoë O’Neill, 北京."]
    asked = [request(exported, text, format=f, depth=2, allowance=20) for text in texts for f in ("xml", "inserted")]
    expected = [naively(model, tokens, one) for one in asked]
    found = in_order(TorchEngine(model, tokens, batch=4).generate(asked))
    assert_equal(found, expected)
    assert [c.margin for c in found] == pytest.approx([c.margin for c in expected], abs=1e-3)


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")  # peft asks transformers for it
@pytest.mark.parametrize("targets", [["q_proj", "down_proj"], ["q_proj", "lm_head"]])
def test_an_adapter_decodes_as_the_model_that_it_is_merged_into(
    llama: PreTrainedModel, tokens: Tokens, exported: Model, targets: list[str]
) -> None:
    config = LoraConfig(r=4, lora_alpha=8, target_modules=targets, init_lora_weights=False)
    torch.manual_seed(1)
    adapted = get_peft_model(copy.deepcopy(llama), config).eval()
    requests = [request(exported, text, format="xml") for text in TEXTS[:3]]
    found = in_order(TorchEngine(adapted, tokens).generate(requests))
    merged = in_order(TorchEngine(adapted.merge_and_unload(), tokens).generate(requests))
    assert_equal(found, merged)
    base = in_order(TorchEngine(llama, tokens).generate(requests))
    assert [c.text for c in found] != [c.text for c in base]


def test_many_legal_tokens_take_the_whole_output_matrix_and_choose_the_same(
    llama: PreTrainedModel, tokens: Tokens, exported: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = requests_of(exported, ("xml", "inserted"))
    by_rows = in_order(TorchEngine(llama, tokens).generate(requests))
    monkeypatch.setattr(head, "FEW_ROWS", 0)
    assert_equal(in_order(TorchEngine(llama, tokens).generate(requests)), by_rows)


def test_evaluation_scores_what_extraction_finds_and_leaves_the_model_in_training(
    llama: PreTrainedModel, tokens: Tokens, exported: Model, engine: Engine
) -> None:
    instructions = replace(instructions_of(exported), format="xml", chunk_bytes=120, together=())
    task, spec = Task.of(instructions, default_labels(exported), depth=2), RunSpec(depth=2)
    documents = [
        Document(text, source=f"document {number}") for number, text in enumerate([*TEXTS, " ", "".join(TEXTS)])
    ]
    gold = [replace(document, entities=found.entities) for document, found in
            zip(documents, extract(documents, task, engine.generate), strict=True)]  # fmt: skip
    count = sum(len(document.entities) for document in gold)
    assert count > 10
    llama.train()
    scores = evaluate(TorchBackend(llama, tokens, instructions, batch=4), gold, spec)
    assert llama.training
    llama.eval()
    assert (scores.micro.hit, scores.micro.missed, scores.micro.spurious) == (count, 0, 0)
    gold[0], nothing = replace(gold[0], entities=()), len(gold[0].entities)
    assert evaluate(TorchBackend(llama, tokens, instructions), gold, spec).micro.spurious == nothing > 0
    assert not llama.training


def test_a_document_that_fails_counts_as_one_in_which_nothing_was_found(
    tokens: Tokens, exported: Model, engine: Engine
) -> None:
    small = new_model(tokens, max_position_embeddings=64)
    instructions = replace(instructions_of(exported), format="xml", chunk_bytes=2000, together=())
    task, spec = Task.of(instructions, default_labels(exported)), RunSpec()
    gold = next(extract([Document(TEXTS[0], source="document")], task, engine.generate))
    document = replace(gold.document, entities=gold.entities)
    scores = evaluate(TorchBackend(small, tokens, instructions), [document], spec)
    assert (scores.micro.hit, scores.micro.missed) == (0, len(gold.entities))
    assert gold.entities
