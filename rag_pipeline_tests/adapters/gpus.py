"""Stand-ins for CUDA GPUs on a machine without one: the CPU computes, and the copies say what was asked of them."""

from dataclasses import dataclass, field
from typing import Any

import pytest

from rag_pipeline.adapters import arithmetic, cuda_devices, torch_engine


@dataclass
class Asked:
    """What the stand-ins were asked for."""

    events: list[str] = field(default_factory=list)
    places: list[str] = field(default_factory=list)


def stand_in_gpus(monkeypatch: pytest.MonkeyPatch, count: int = 1, *, half: str | None = None) -> Asked:
    """Lets the process see so many GPUs, which compute in float32 and, where it is given, in a half precision."""
    asked = Asked()

    def place_of(device: str, number: int) -> str:
        asked.places.append(cuda_devices.place_of(device, number))
        return "cpu"

    monkeypatch.setattr(torch_engine, "pick_device", lambda wanted: "cuda" if wanted in ("auto", "cuda") else wanted)
    monkeypatch.setattr(torch_engine, "place_of", place_of)
    monkeypatch.setattr("torch.cuda.device_count", lambda: count)
    monkeypatch.setattr("torch.cuda.get_device_name", lambda number=0: "Stand-in 9000")
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda **_: half == "bfloat16")
    monkeypatch.setattr("torch.cuda.empty_cache", lambda: asked.events.append("empty cache"))
    monkeypatch.setattr(arithmetic, "half_precision", lambda device: half)
    monkeypatch.setattr("rag_pipeline.adapters.engine_choice.half_precision", lambda device: half)
    stand_in_copies(monkeypatch, asked)
    return asked


def stand_in_copies(monkeypatch: pytest.MonkeyPatch, asked: Asked) -> None:
    """Pinned memory, events and streams of CUDA, which torch for CPUs does not have."""
    import torch

    class Event:
        def record(self, stream: Any) -> None:
            asked.events.append(f"record on {stream}")

        def synchronize(self) -> None:
            asked.events.append("wait")

    empty, to, copy = torch.empty, torch.Tensor.to, torch.Tensor.copy_

    def unpinned(*shape: Any, pin_memory: bool = False, **options: Any) -> torch.Tensor:
        if pin_memory:
            asked.events.append("pin result")
        return empty(*shape, **options)

    def sent(self: torch.Tensor, *target: Any, **options: Any) -> torch.Tensor:
        if options.get("non_blocking"):
            asked.events.append("send")
        return to(self, *target, **options)

    def copied(self: torch.Tensor, source: torch.Tensor, non_blocking: bool = False) -> torch.Tensor:
        if non_blocking:
            asked.events.append("fetch")
        return copy(self, source)

    def pinned(self: torch.Tensor) -> torch.Tensor:
        asked.events.append("pin")
        return self

    monkeypatch.setattr("torch.empty", unpinned)
    monkeypatch.setattr("torch.Tensor.to", sent)
    monkeypatch.setattr("torch.Tensor.copy_", copied)
    monkeypatch.setattr("torch.Tensor.pin_memory", pinned)
    monkeypatch.setattr("torch.cuda.Event", Event)
    monkeypatch.setattr("torch.cuda.current_stream", lambda device: f"stream of {device}")
