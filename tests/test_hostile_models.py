"""Model files from strangers: whatever their metadata, templates and folders say, nothing is run, opened or fetched."""

from __future__ import annotations

import ast
import json
import os
import pickle
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from asking import ROOT
from conftest import Run
from random_model import write_random_model

from genner_cli import hub
from genner_cli.engine.chat import literal_prompt
from genner_cli.errors import ModelError

MARK = "stranger"
"""Stands in every path and address of the metadata, so that opening one is seen."""
METADATA = {
    "general.name": f"/tmp/{MARK}/name",
    "general.source.url": f"http://{MARK}.invalid/model",
    "general.license.link": f"file:///tmp/{MARK}/license",
    "general.description": f"$(touch /tmp/{MARK}) `touch /tmp/{MARK}`; touch /tmp/{MARK} \x1b]0;owned\x07\x1b[2J",
    "general.base_model.0.repo_url": f"https://{MARK}.invalid/base",
    "tokenizer.ggml.pre.path": f"../../{MARK}",
    "genner.base": f"/tmp/{MARK}/base",
    "imatrix.file": f"/tmp/{MARK}/imatrix.dat",
}
ESCAPES = {
    "attributes": "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "globals": "{{ cycler.__init__.__globals__['os'].system('touch %(path)s') }}",
    "filter": "{{ (''|attr('__class__'))|attr('__mro__') }}",
    "format": "{{ '{0.__class__.__base__}'.format('') }}",
    "format by map": "{{ ['{0.__class__}']|map('format', '')|list }}",
    "module": "{{ self._TemplateReference__context.environment.loader }}",
    "include": "{%% include '%(path)s' %%}",
    "import": "{%% import 'os' as os %%}{{ os.system('touch %(path)s') }}",
    "function": "{{ raise_exception.__globals__['sys'].modules['os'].system('touch %(path)s') }}",
    "mutation": "{%% set _ = messages.append(1) %%}{{ messages }}",
}
"""Ways out of jinja's sandbox, tried by strangers."""
BOMBS = {
    "loops": "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
    "memory": "{{ 'a' * 10**10 }}",
    "memory at compile time": "{% set x = 'a' * 9999999999 %}{{ x | length }}",
    "width": "{{ '%999999999d' % 1 }}",
    "recursion": "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "nesting": "{{" + "(" * 20000 + "1" + ")" * 20000 + "}}",
    "size": "{{ 'a' * 9999999 }}{{ messages[0]['content'] }}",
    "number": "{{ 10 ** (10 ** 8) }}",
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_template_without_an_end_is_ended(bomb: str) -> None:
    with pytest.raises(ModelError, match=r"m\.gguf: .*chat template"):
        literal_prompt(BOMBS[bomb], "m.gguf")


WATCHED = """
import sys, json
from contextlib import suppress
from genner_cli.engine import templating
for template in templating.WARMING:
    with suppress(Exception):
        templating.render(template, "")
seen = []
sys.addaudithook(lambda event, args: seen.append([event, repr(args)[:200]]))
for template in json.load(sys.stdin):
    with suppress(Exception):
        templating.render(template, "question")
harmless = ("compile", "exec", "object.__getattr__", "code.__new__", "sys._getframe", "builtins.id")
print(json.dumps([event for event in seen if event[0] not in harmless]))
"""


def test_a_template_that_tries_to_leave_the_sandbox_does_nothing_that_python_would_report(tmp_path: Path) -> None:
    """Not even where the process is not confined: no file, no module, no socket, no process (sys.addaudithook)."""
    templates = [template % {"path": tmp_path / MARK} for template in ESCAPES.values()]
    done = subprocess.run(
        [sys.executable, "-c", WATCHED], input=json.dumps(templates), capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == []
    assert list(tmp_path.iterdir()) == []


TRIED = """
import os, socket, subprocess, sys
from genner_cli.engine import templating
templating._confine()
for attempt in (
    lambda: open(sys.argv[1], "w"),
    lambda: open("/etc/passwd"),
    lambda: socket.socket(),
    lambda: subprocess.run(["touch", sys.argv[1]]),
    lambda: bytearray(2**30),
):
    try:
        attempt()
    except (OSError, MemoryError) as error:
        os.write(1, type(error).__name__.encode() + b"\\n")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="other systems know fewer limits")
def test_even_outside_the_sandbox_a_template_could_open_nothing(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", TRIED, tmp_path / MARK], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["OSError"] * 4 + ["MemoryError"], done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("escape", ESCAPES)
def test_a_model_with_such_a_template_is_refused(escape: str, tmp_path: Path) -> None:
    path = tmp_path / MARK
    with pytest.raises(ModelError, match=r"m\.gguf: .*chat template"):
        literal_prompt(ESCAPES[escape] % {"path": path}, "m.gguf")
    assert not path.exists()


OPENED = """
import json, sys
seen = []
def watch(event, args):
    if event in ("open", "os.system", "os.exec", "os.posix_spawn") or event.startswith(("socket.", "urllib.")):
        seen.append([event, repr(args)])
sys.addaudithook(watch)
from genner_cli.errors import GennerError
from genner_cli.generation import EngineOptions
from genner_cli.types import Document, Label
from genner_cli.running.backend import extractions
from genner_cli.running.llama import LlamaBackend
from genner_cli.running.spec import RunSpec
spec = RunSpec(labels=(Label("PER"),), model=sys.argv[1], engine=EngineOptions(threads=1, gpu_layers=0))
try:
    with LlamaBackend().open(spec) as opened:
        done = [result.error for result in extractions(opened, [Document("Ann met Bob.")])]
except GennerError as error:
    done = str(error)
print(json.dumps([done, seen]))
"""


@pytest.fixture(scope="module")
def strange(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose metadata are full of paths, addresses and commands."""
    path = tmp_path_factory.mktemp("strange") / "model.gguf"
    return write_random_model(path, change=METADATA, leave_out=["genner.version"])


def test_paths_and_addresses_in_metadata_are_data(strange: Path) -> None:
    done = subprocess.run([sys.executable, "-c", OPENED, strange], capture_output=True, text=True, check=True)
    outcome, seen = json.loads(done.stdout)
    assert outcome == [None]
    assert ["open", str(strange)] in [[event, args.split("'")[1]] for event, args in seen if "'" in args]
    assert [event for event, _ in seen if event != "open"] == []
    assert [args for _, args in seen if MARK in args] == []


@pytest.mark.skipif(not shutil.which("strace"), reason="needs strace")
def test_the_whole_command_opens_no_connection_and_nothing_that_metadata_name(strange: Path, tmp_path: Path) -> None:
    """llama.cpp and the engine's process included."""
    trace, docs = tmp_path / "trace", tmp_path / "in.jsonl"
    docs.write_text('{"text": "Ann met Bob."}\n', encoding="utf-8")
    calls = ("strace", "-f", "-qq", "-e", "trace=open,openat,socket,connect,execve", "-o", trace)
    if subprocess.run([*calls, "true"], capture_output=True, check=False).returncode:
        pytest.skip("strace may not trace here")
    command = [sys.executable, "-m", "genner_cli", "extract", docs, "--model", strange, "--threads", "1"]
    subprocess.run([*calls, *command, "--types", "PER"], capture_output=True, check=True)
    lines = trace.read_text(encoding="utf-8", errors="replace").splitlines()
    assert any(str(strange) in line for line in lines), "the watch sees nothing"
    assert not [line for line in lines if "AF_INET" in line]
    assert not [line for line in lines if MARK in line.replace(str(strange), "")]
    assert sum("execve(" in line for line in lines) >= 2, "the engine's process is watched as well"


def test_what_a_model_says_of_itself_does_not_steer_the_terminal(
    strange: Path, genner: Callable[..., Run], tmp_path: Path
) -> None:
    run = genner("info", strange)
    assert run.status == 0
    assert "owned" in run.stdout.decode()
    assert b"\x1b" not in run.stdout
    change = {"tokenizer.chat_template": "{{ raise_exception('\x1b]0;owned\x07') }}"}
    foreign = write_random_model(tmp_path / "foreign.gguf", change=change, leave_out=["genner."])
    docs = tmp_path / "in.jsonl"
    docs.write_text('{"text": "x"}\n', encoding="utf-8")
    run = genner("extract", docs, "--model", foreign, "--types", "PER")
    assert run.status == 1
    assert "owned" in run.stderr
    assert "\x1b" not in run.stderr


@pytest.mark.parametrize("seed", range(6))
def test_a_gguf_that_breaks_llama_cpp_is_an_error_in_a_line(seed: int, tmp_path: Path) -> None:
    """Tensors, vocabulary and numbers are llama.cpp's to read; where it dies of them, its process dies alone."""
    chance = random.Random(seed)
    data = bytearray(hub.BUNDLED.read_bytes())
    for _ in range(40):
        data[chance.randrange(24, 60_000)] = chance.randrange(256)
    path, docs = tmp_path / "broken.gguf", tmp_path / "in.jsonl"
    path.write_bytes(data)
    docs.write_text('{"text": "Ann met Bob."}\n', encoding="utf-8")
    command = [sys.executable, "-m", "genner_cli", "extract", docs, "--model", path, "--threads", "1", "--types", "PER"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode in (0, 1, 2)
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("genner: ") or done.returncode == 0 or done.stdout


# weights in pickles, and code beside them


class Owned:
    """As a pickle, it runs a command when it is opened."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.path}",)


FORBIDDEN = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
CALLS = {"eval", "exec", "load", "unsafe_load", "full_load", "load_all"}


def calls(source: str) -> Iterator[str]:
    """What loads or runs strange data: names of modules, and of the functions that are called."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] in FORBIDDEN)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in FORBIDDEN:
            yield str(node.module)
        elif isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            if name in ("eval", "exec") or name in {
                f"{home}.{call}" for home in ("torch", "yaml", "np") for call in CALLS
            }:
                yield name
            yield from (
                f"{k.arg}=True" for k in node.keywords if k.arg in ("trust_remote_code", "shell") and _is_true(k)
            )


def _is_true(keyword: ast.keyword) -> bool:
    return not (isinstance(keyword.value, ast.Constant) and keyword.value.value is False)


@pytest.mark.parametrize("package", ["genner_cli", "convert"])
def test_nothing_in_the_tree_opens_a_pickle_or_runs_a_text(package: str) -> None:
    found = {str(path): list(calls(path.read_text("utf-8"))) for path in (ROOT / package).rglob("*.py")}
    assert {path: names for path, names in found.items() if names} == {}


def test_what_does_is_found() -> None:
    source = "import pickle\nfrom joblib import load\ntorch.load(x)\nyaml.load(y)\neval('1')\nf(trust_remote_code=x)\n"
    assert len(list(calls(source))) == 6
    assert list(calls("yaml.safe_load(x)\njson.load(f)\nf(trust_remote_code=False)\nmodel.eval()\n")) == []


def test_weights_in_a_pickle_are_never_opened_and_the_message_says_why(
    genner: Callable[..., Run], tmp_path: Path
) -> None:
    from small_bases import write_jsonl, write_small_base

    base, mark = write_small_base(tmp_path / "base", words=False), tmp_path / MARK
    (base / "model.safetensors").unlink()
    (base / "pytorch_model.bin").write_bytes(pickle.dumps(Owned(mark)))
    data = write_jsonl(tmp_path / "train.jsonl")
    run = genner("train", data, "--base", base, "-o", tmp_path / "adapter")
    assert run.status == 2
    assert "pytorch_model.bin is a pickle" in run.stderr
    adapter = tmp_path / "given"
    adapter.mkdir()
    (adapter / "genner.json").write_text("{}", encoding="utf-8")
    (adapter / "adapter_config.json").write_text('{"peft_type": "LORA", "r": 4}', encoding="utf-8")
    (adapter / "adapter_model.bin").write_bytes(pickle.dumps(Owned(mark)))
    from convert.adapter import read_adapter

    with pytest.raises(ModelError, match=r"adapter_model\.bin is a pickle"):
        read_adapter(adapter)
    docs = tmp_path / "in.jsonl"
    docs.write_text('{"text": "x"}\n', encoding="utf-8")
    for option in ("--model", "--adapter"):
        run = genner("extract", docs, option, adapter / "adapter_model.bin")
        assert run.status == 1
        assert "GGUF file" in run.stderr
    assert not mark.exists()


def test_code_that_lies_in_a_folder_is_never_run(tmp_path: Path) -> None:
    """transformers would import it where it is trusted, and would ask at a terminal where nothing is said of it."""
    import torch
    from small_bases import write_small_base

    from genner_cli.training.base import find_base, open_model
    from genner_cli.training.options import TrainOptions

    base, mark = write_small_base(tmp_path / "base", words=False), tmp_path / MARK
    (base / "strange.py").write_text(f"open({str(mark)!r}, 'w')\nclass Strange: pass\n", encoding="utf-8")
    path = base / "config.json"
    config = json.loads(path.read_text("utf-8"))
    strange = dict.fromkeys(("AutoConfig", "AutoModelForCausalLM", "AutoTokenizer"), "strange.Strange")
    path.write_text(json.dumps({**config, "auto_map": strange}), encoding="utf-8")
    open_model(find_base(base, "base"), TrainOptions(), torch.device("cpu"))
    path.write_text(json.dumps({**config, "model_type": "strange", "auto_map": strange}), encoding="utf-8")
    with pytest.raises(ModelError, match=r"config\.json is broken"):
        find_base(base, "base")
    assert not mark.exists()
