"""Joins a Ray cluster, or starts one on this machine that nobody else can reach. Sends no usage statistics."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Any

from genner_cli.cluster.sizing import Machine
from genner_cli.errors import GennerError, UsageError

LOOPBACK = "127.0.0.1"
_OBJECT_STORE_BYTES = 200 * 2**20
_PATIENCE_SECONDS = 10


@contextmanager
def connected(address: str | None, *, cpus: int = 0) -> Iterator[list[Machine]]:
    """The machines of the cluster at an address, or of one on this machine alone, with at least `cpus` CPUs.

    Raises UsageError where ray is not installed or no cluster answers.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    if address is None:
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # so it keeps to the loopback address, on Linux too
    try:
        import ray
    except ImportError as error:
        raise UsageError("--cluster ray needs ray; run: pip install 'genner[cluster]'") from error
    with open(os.devnull, "w", encoding="utf-8") as nowhere, redirect_stdout(nowhere):  # Ray prints there on its own
        _init(address, cpus)
        try:
            yield _machines(address)
        finally:
            ray.shutdown()


def _machines(address: str | None) -> list[Machine]:
    import ray

    alive = [node for node in ray.nodes() if node["Alive"]]
    if address is None and any(node["NodeManagerAddress"] != LOOPBACK for node in alive):
        raise GennerError("Ray would listen to other machines; start a cluster yourself and name its --address")
    return [Machine(*(int(node["Resources"].get(kind, 0)) for kind in ("CPU", "GPU"))) for node in alive]


def _init(address: str | None, cpus: int) -> None:
    import ray

    if address and ":" in address:
        _knock(address)
    quiet = {"log_to_driver": False, "logging_level": logging.CRITICAL}
    try:
        ray.init(**(_here(cpus) if address is None else {"address": address}), **quiet)
    except Exception as error:  # Ray raises any kind, Exception itself among them
        reason = str(error).strip().split("\n")[0]
        raise (
            _no_cluster(address, reason) if address else UsageError(f"Ray cannot be started here ({reason})")
        ) from error


def _knock(address: str) -> None:
    """Whether anybody is there: Ray itself would ask for minutes."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=_PATIENCE_SECONDS).close()
    except (OSError, ValueError, OverflowError) as error:
        raise _no_cluster(address, str(error)) from error


def _no_cluster(address: str, reason: str) -> UsageError:
    return UsageError(f"--address {address}: no Ray cluster answers there ({reason}); see `ray status` on its head")


def _here(cpus: int) -> dict[str, Any]:
    return {
        "address": "local",
        "_node_ip_address": LOOPBACK,
        "num_cpus": max(cpus, os.cpu_count() or 1),
        "include_dashboard": False,
        "object_store_memory": _OBJECT_STORE_BYTES,
    }
