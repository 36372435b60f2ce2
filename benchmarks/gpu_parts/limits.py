"""The limits of the device, measured before anything else: matrix products and copies."""

import time
from collections.abc import Callable
from typing import Any

from benchmarks.gpu_parts.sizes import Size

_LOOKS = 5
_LOOK_S = 0.3


def measure_products(device: str, size: Size) -> list[dict[str, Any]]:
    """TFLOP/s of bfloat16 matrix products, a row for each shape."""
    import torch

    rows = []
    for height, inner, width in size.products:
        left = torch.randn(height, inner, device=device, dtype=torch.bfloat16)
        right = torch.randn(inner, width, device=device, dtype=torch.bfloat16)
        seconds = best_seconds(lambda left=left, right=right: left @ right, device, is_quick=size.is_smoke)
        rate = 2 * height * inner * width / seconds / 1e12
        rows.append({"rows": height, "inner": inner, "columns": width, "tflop_per_s": round(rate, 6 if size.is_smoke else 1)})
    return rows


def measure_copies(device: str, size: Size) -> list[dict[str, Any]]:
    """GB/s of copies both ways, from and to pinned and ordinary memory of the host."""
    import torch

    is_cuda = device == "cuda"
    there = torch.empty(size.copy_mib * 2**20, dtype=torch.uint8, device=device)
    rows = []
    for kind in ("pinned", "ordinary") if is_cuda else ("ordinary",):
        host = torch.empty(there.shape, dtype=torch.uint8, pin_memory=kind == "pinned")
        ways: dict[str, Callable[[], object]] = {
            "to the device": lambda host=host: there.copy_(host, non_blocking=True),
            "from the device": lambda host=host: host.copy_(there, non_blocking=True),
        }
        for way, copy in ways.items():
            seconds = best_seconds(copy, device, is_quick=size.is_smoke)
            rows.append({"memory": kind, "way": way, "gb_per_s": round(there.numel() / seconds / 1e9, 1)})
    return rows


def best_seconds(work: Callable[[], object], device: str, *, is_quick: bool) -> float:
    """Seconds of one call in the best of a few looks, each of so many calls that starting them does not count."""
    work()
    once = _seconds(work, 1, device)
    calls = 1 if is_quick else max(1, min(1000, int(_LOOK_S / once)))
    return min(_seconds(work, calls, device) for _ in range(_LOOKS)) / calls


def _seconds(work: Callable[[], object], calls: int, device: str) -> float:
    synchronize(device)
    started = time.perf_counter()
    for _ in range(calls):
        work()
    synchronize(device)
    return max(time.perf_counter() - started, 1e-9)


def synchronize(device: str) -> None:
    """Returns when the device has done all it was told."""
    import torch

    if device == "cuda":
        torch.cuda.synchronize()
