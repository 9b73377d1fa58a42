"""Which device to compute on, in which precision, and how much memory it has left."""

import os
import time
from collections.abc import Generator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Literal

import torch

from recloop.errors import ConfigError

DeviceName = Literal["auto", "cpu", "cuda"]

_CGROUP = Path("/sys/fs/cgroup")
_MEMINFO = Path("/proc/meminfo")
_CPUINFO = Path("/proc/cpuinfo")
_KINDS = (torch.bfloat16, torch.float32)
_TURNS = 10
_WORTH_IT = 2 / 3
_CACHES = ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY")
_KEPT = "16"


def choose(name: DeviceName = "auto") -> torch.device:
    """The device to use: ``auto`` is CUDA where there is one, the CPU otherwise.

    Raises:
        ConfigError: ``cuda`` is asked for and there is none.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device is 'cuda', but no CUDA device is available here; use 'auto' or 'cpu'.")
    return torch.device(name)


@contextmanager
def autocast(device: torch.device, *, large: bool = True) -> Generator[None]:
    """Matrix products in bfloat16 where `multiplies_bfloat16`, in full precision elsewhere; on a CPU only `large` ones.

    There the conversion of small matrices takes more than their product saves.
    """
    wanted = (large or device.type != "cpu") and multiplies_bfloat16(device)
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=wanted):
        yield


def multiplies_bfloat16(device: torch.device) -> bool:
    """Whether matrices are multiplied faster in bfloat16 than in float32: on CUDA, and on some CPUs.

    A CPU needs instructions for it, AMX tiles or AVX-512 BF16; but with the latter a product takes from a quarter of
    the time of float32 to twice as long, by the maker. So a product is timed in both, once a process, and bfloat16 must
    take at most two thirds. Before that, the library behind these products is told to keep few of the programs that it
    writes for them: it writes one for each number of rows, and a thousand of them take a gigabyte and more time.
    """
    return device.type == "cuda" or (device.type == "cpu" and _cpu_multiplies_bfloat16())


@cache
def _cpu_multiplies_bfloat16() -> bool:
    """Asked before each step of training, so found out once a process."""
    if not torch.backends.mkldnn.is_available() or not _has_bfloat16():
        return False
    for variable in _CACHES:
        os.environ.setdefault(variable, _KEPT)
    return _time_of_bfloat16() <= _WORTH_IT


def _has_bfloat16() -> bool:
    try:
        lines = _CPUINFO.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return False
    flags = set(next((line for line in lines if line.startswith("flags")), "").split())
    return {"amx_tile", "amx_bf16"} <= flags or "avx512_bf16" in flags


def _time_of_bfloat16() -> float:
    """Time of a matrix product in bfloat16 over its time in float32: the quickest of some turns, a few ms in all."""
    pairs = [(torch.ones(256, 128, dtype=kind), torch.ones(128, 2048, dtype=kind)) for kind in _KINDS]
    seconds = [float("inf"), float("inf")]
    for _ in range(_TURNS):
        for kind, (left, right) in enumerate(pairs):
            start = time.perf_counter()
            torch.mm(left, right)
            seconds[kind] = min(seconds[kind], time.perf_counter() - start)
    return seconds[0] / seconds[1]


def free_memory(device: torch.device) -> int:
    """Bytes that can still be allocated: on a GPU its own, else the host's within its container's limit."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    host, container = _host_memory(), _container_memory()
    return host if container is None else min(host, container)


def _host_memory() -> int:
    try:
        for line in _MEMINFO.read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _container_memory() -> int | None:
    try:
        limit = (_CGROUP / "memory.max").read_text(encoding="ascii").strip()
        used = int((_CGROUP / "memory.current").read_text(encoding="ascii"))
        cached = _cached_files((_CGROUP / "memory.stat").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
    return None if limit == "max" else max(0, int(limit) - used + cached)


def _cached_files(stat: str) -> int:
    """Bytes of file content that the kernel gives up for an allocation, though they count as used."""
    return sum(int(line.split()[1]) for line in stat.splitlines() if line.startswith("inactive_file "))
