import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from recloop import devices
from recloop.errors import ConfigError


@pytest.fixture(autouse=True)
def _anew() -> Iterator[None]:
    """What was found out of this processor is forgotten before and after."""
    devices._cpu_multiplies_bfloat16.cache_clear()
    yield
    devices._cpu_multiplies_bfloat16.cache_clear()


def test_auto_is_cuda_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert devices.choose().type == "cuda"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert devices.choose().type == "cpu"
    assert devices.choose("cpu").type == "cpu"


def test_cuda_without_a_gpu_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError) as error:
        devices.choose("cuda")
    assert str(error.value) == "device is 'cuda', but no CUDA device is available here; use 'auto' or 'cpu'."


@pytest.mark.parametrize(
    ("flags", "relative", "kind"),
    [
        ("fpu avx512f amx_bf16 avx512_fp16 amx_tile amx_int8", 0.3, torch.bfloat16),
        ("fpu avx512f avx512_bf16 avx512_fp16", 0.25, torch.bfloat16),
        ("fpu avx512f avx512_bf16 avx512_fp16", 0.9, torch.float32),
        ("fpu avx512f avx512_bf16 amx_bf16 amx_tile", 2.0, torch.float32),
        ("fpu amx_tile amx_int8", 0.25, torch.float32),
        (None, 0.25, torch.float32),
    ],
)
def test_a_cpu_multiplies_in_bfloat16_where_it_can_and_that_is_quicker(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, flags: str | None, relative: float, kind: torch.dtype
) -> None:
    monkeypatch.setattr(devices, "_CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(devices, "_time_of_bfloat16", lambda: relative)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
    if flags is not None:
        (tmp_path / "cpuinfo").write_text(f"processor\t: 0\nflags\t\t: {flags}\nbugs\t: amx_bf16 amx_tile\n")
    with devices.autocast(torch.device("cpu")):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == kind
    with devices.autocast(torch.device("cpu"), large=False):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32
    assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32


def test_few_programs_of_products_are_kept_unless_the_environment_says_otherwise(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "cpuinfo").write_text("flags\t: avx512_bf16\n", encoding="ascii")
    monkeypatch.setattr(devices, "_CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(devices, "_time_of_bfloat16", lambda: 0.25)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
    monkeypatch.setenv("LRU_CACHE_CAPACITY", "99")
    monkeypatch.delenv("ONEDNN_PRIMITIVE_CACHE_CAPACITY", raising=False)
    assert devices.multiplies_bfloat16(torch.device("cpu"))
    assert os.environ["LRU_CACHE_CAPACITY"] == "99"
    assert os.environ["ONEDNN_PRIMITIVE_CACHE_CAPACITY"] == "16"


def test_a_product_is_timed_in_both_types(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter([0.0, 3.0, 10.0, 12.0] + [20.0, 21.0, 30.0, 34.0] * 9)
    monkeypatch.setattr("recloop.devices.time.perf_counter", lambda: next(now))
    assert devices._time_of_bfloat16() == 0.5


def test_a_processor_is_looked_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text("flags\t: avx512_bf16\n", encoding="ascii")
    monkeypatch.setattr(devices, "_CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
    times = iter([0.25])
    monkeypatch.setattr(devices, "_time_of_bfloat16", lambda: next(times))
    assert [devices.multiplies_bfloat16(torch.device("cpu")) for _ in range(3)] == [True, True, True]


def test_tiles_without_a_library_that_uses_them_do_not_count(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text("flags\t: amx_bf16 amx_tile\n", encoding="ascii")
    monkeypatch.setattr(devices, "_time_of_bfloat16", lambda: 0.25)
    monkeypatch.setattr(devices, "_CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert not devices.multiplies_bfloat16(torch.device("cpu"))
    assert devices.multiplies_bfloat16(torch.device("cuda"))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_multiplies_in_bfloat16() -> None:
    device = torch.device("cuda")
    with devices.autocast(device):
        assert (torch.ones(2, 2, device=device) @ torch.ones(2, 2, device=device)).dtype == torch.bfloat16
    assert devices.free_memory(device) > 0


def test_free_memory_is_the_smaller_of_host_and_container(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    host, container = tmp_path / "meminfo", tmp_path / "group"
    monkeypatch.setattr(devices, "_MEMINFO", host)
    monkeypatch.setattr(devices, "_CGROUP", container)
    host.write_text("MemTotal: 9 kB\nMemAvailable:     7 kB\n", encoding="ascii")
    assert devices.free_memory(torch.device("cpu")) == 7168
    container.mkdir()
    (container / "memory.current").write_text("1500\n", encoding="ascii")
    (container / "memory.stat").write_text("anon 700\ninactive_file 500\nactive_file 300\n", encoding="ascii")
    for limit, free in (("max", 7168), ("4000", 3000), ("900", 0), ("90000", 7168)):
        (container / "memory.max").write_text(f"{limit}\n", encoding="ascii")
        assert devices.free_memory(torch.device("cpu")) == free


def test_free_memory_without_meminfo_is_the_machines(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(devices, "_MEMINFO", tmp_path / "none")
    monkeypatch.setattr(devices, "_CGROUP", tmp_path / "none")
    assert devices.free_memory(torch.device("cpu")) > 1 << 20
