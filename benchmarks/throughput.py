"""genner against what a user writes today: a loop over `llama_cpp.Llama.create_completion` with the same GBNF.

    python benchmarks/throughput.py [--model FILE] [--documents 100] [--rounds 3] [--threads N]

Same GGUF, prompt token ids, grammar, threads and flash attention; documents are the sentences of
examples/news.jsonl. The loop may write as many tokens for a document as genner wrote, no more. Under the
grammar alone both must write the same text, which is checked on every document first. Prints documents
per second, the median and range over the rounds, which take turns, and the ratio of the medians.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import llama_cpp

from genner_cli import hub
from genner_cli.chunking import sentences
from genner_cli.engine.engine import Engine
from genner_cli.engine.model import Model, loading_parameters
from genner_cli.formats import output_format
from genner_cli.generation import Completion, Constraint, EngineOptions, Request
from genner_cli.prompting import Instructions

NEWS = Path(__file__).parent.parent / "examples" / "news.jsonl"


def requests_for(model: Model, count: int) -> list[Request]:
    """One request for each of the first sentences of the news."""
    instructions = Instructions.from_metadata(model.metadata)
    assert instructions, "the benchmark needs a model with genner metadata"
    labels = [label for label in instructions.labels if label.name in instructions.default_labels]
    names = [label.name for label in labels]
    output = output_format(instructions.format)
    texts = [json.loads(line)["text"] for line in NEWS.read_text(encoding="utf-8").splitlines()]
    parts = [text[start:end] for text in texts for start, end in sentences(text)][:count]
    return [
        Request(
            prefix=instructions.prompt.prefix(labels),
            rest=instructions.prompt.rest(part),
            grammar=output.grammar(names),
            lock=output.lock(part, names),
            allowance=2 * len(part) + 64,
        )
        for part in parts
    ]


def with_genner(model: Model, requests: list[Request], options: EngineOptions) -> list[Completion]:
    """Completions in the order of the requests."""
    with Engine(model, options) as engine:
        return [completion for _, completion in sorted(engine.generate(requests), key=lambda pair: pair[0])]


def with_loop(peer: llama_cpp.Llama, prompts: list[list[int]], grammar: str, limits: list[int]) -> list[str]:
    """What a plain loop writes: greedy, one document after the other."""
    compiled = llama_cpp.LlamaGrammar.from_string(grammar, verbose=False)
    texts = []
    for prompt, limit in zip(prompts, limits, strict=True):
        answer = peer.create_completion(prompt, max_tokens=limit, temperature=0.0, grammar=compiled)
        texts.append(answer["choices"][0]["text"])
    return texts


def timed(run: Callable[[], object]) -> float:
    """Seconds that a call takes."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def main() -> None:
    """Reads the command line, measures, prints a table and the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model")
    parser.add_argument("--documents", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    path = hub.resolve(args.model)
    llama_cpp.llama_cpp.llama_model_default_params = loading_parameters
    peer = llama_cpp.Llama(
        str(path), n_ctx=4096, n_threads=args.threads, n_threads_batch=args.threads, flash_attn=False, verbose=False
    )
    with Model(path) as model:
        requests = requests_for(model, args.documents)
        one = EngineOptions(slots=1, threads=args.threads, flash_attention=False)
        many = EngineOptions(threads=args.threads, flash_attention=False)
        prompts = [model.begin_ids + model.prompt(request.prefix + request.rest) for request in requests]
        limits = [len(completion.ends) for completion in with_genner(model, requests, many)]
        grammar = requests[0].grammar
        format_only = [replace(request, constraint=Constraint.FORMAT) for request in requests]
        ours = [c.text for c in with_genner(model, format_only, one)]
        theirs = with_loop(peer, prompts, grammar, limits)
        same = sum(a.startswith(b) or b.startswith(a) for a, b in zip(ours, theirs, strict=True))
        print(f"same text under the grammar alone: {same} of {len(requests)} documents")
        runs: dict[str, Callable[[], object]] = {
            "create_completion loop": lambda: with_loop(peer, prompts, grammar, limits),
            "genner, one slot": lambda: with_genner(model, requests, one),
            f"genner, {many.slots} slots": lambda: with_genner(model, requests, many),
        }
        seconds: dict[str, list[float]] = {name: [] for name in runs}
        for _ in range(args.rounds):
            for name, run in runs.items():
                seconds[name].append(timed(run))
    baseline = statistics.median(seconds["create_completion loop"])
    for name, times in seconds.items():
        rates = sorted(len(requests) / t for t in times)
        ratio = baseline / statistics.median(times)
        print(
            f"{name:24} {statistics.median(rates):8.2f} documents/s ({rates[0]:.2f} to {rates[-1]:.2f})  {ratio:.2f}x"
        )


if __name__ == "__main__":
    main()
