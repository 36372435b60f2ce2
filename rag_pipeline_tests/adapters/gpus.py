"""Stand-ins for CUDA GPUs on a machine without one: the CPU computes, and the copies say what was asked of them."""

import itertools
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


def stand_in_attention(monkeypatch: pytest.MonkeyPatch, *, is_wrong: bool = False, fails: bool = False) -> None:
    """An attention that reads the borders of the texts as flash attention does, and the libraries' belief that it is that."""
    import torch
    from sentence_transformers.base.modules.transformer import Transformer
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import flash_attention_mask

    def by_borders(module: Any, query: Any, key: Any, value: Any, mask: Any, **options: Any) -> tuple[Any, None]:
        if fails:
            raise RuntimeError("no kernel image is available for execution on the device")
        ends = [0, query.shape[2]] if is_wrong else options["cu_seq_lens_q"].tolist()
        parts = [
            torch.nn.functional.scaled_dot_product_attention(*(it[:, :, start:end] for it in (query, key, value)))
            for start, end in itertools.pairwise(ends)
        ]
        return torch.cat(parts, dim=2).transpose(1, 2).contiguous(), None

    AttentionInterface.register("stand_in", by_borders)
    AttentionMaskInterface.register("stand_in", flash_attention_mask)
    monkeypatch.setattr(Transformer, "_is_flash_attention_requested", lambda self: self.config._attn_implementation == "stand_in")
    monkeypatch.setattr(
        "transformers.modeling_flash_attention_utils.lazy_import_flash_attention", lambda *_, **__: ((None, by_borders), None)
    )
