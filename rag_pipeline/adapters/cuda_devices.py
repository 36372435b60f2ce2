"""What is asked of CUDA itself: which GPUs there are, and copies that run beside the computation."""

import functools
from typing import TYPE_CHECKING, Protocol

from rag_pipeline.ports import Wait
from rag_pipeline.schema import Matrix

if TYPE_CHECKING:
    import torch


class Memory(Protocol):
    """The way of a batch to a device, and of its vectors back."""

    def hold(self, tensor: "torch.Tensor") -> "torch.Tensor":
        """The tensor where the device can fetch it from."""

    def send(self, tensor: "torch.Tensor") -> "torch.Tensor":
        """The tensor on the device."""

    def fetch(self, vectors: "torch.Tensor") -> Wait:
        """A call that waits for the vectors and returns them in memory of the host."""


class PlainMemory:
    """A ``Memory``: every copy is done when its call returns."""

    def __init__(self, place: str) -> None:
        self._place = place

    def hold(self, tensor: "torch.Tensor") -> "torch.Tensor":
        return tensor

    def send(self, tensor: "torch.Tensor") -> "torch.Tensor":
        return tensor.to(self._place)

    def fetch(self, vectors: "torch.Tensor") -> Wait:
        matrix: Matrix = vectors.cpu().numpy()
        return lambda: matrix


class PinnedMemory:
    """A ``Memory`` for CUDA: copies are only ordered, and run between the computations in the order of the orders.

    Memory of the host has to be pinned for that; torch keeps it for the next batch.
    """

    def __init__(self, place: str) -> None:
        self._place = place

    def hold(self, tensor: "torch.Tensor") -> "torch.Tensor":
        return tensor.pin_memory()

    def send(self, tensor: "torch.Tensor") -> "torch.Tensor":
        return tensor.to(self._place, non_blocking=True)

    def fetch(self, vectors: "torch.Tensor") -> Wait:
        import torch

        pinned = torch.empty(vectors.shape, dtype=vectors.dtype, pin_memory=True)
        pinned.copy_(vectors, non_blocking=True)
        copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
        copied.record(torch.cuda.current_stream(vectors.device))

        @functools.cache
        def wait() -> Matrix:
            copied.synchronize()
            matrix: Matrix = pinned.numpy().copy()  # pinned memory is scarce; the vectors may be kept for long
            return matrix

        return wait


def memory_of(device: str, place: str) -> Memory:
    """The way of copying that suits the device."""
    return PinnedMemory(place) if device == "cuda" else PlainMemory(place)


def place_of(device: str, number: int) -> str:
    """Torch's name of one of several devices."""
    return f"cuda:{number}" if device == "cuda" else device


def gpu_names() -> list[str]:
    """The CUDA GPUs that this process sees (``CUDA_VISIBLE_DEVICES``), in torch's order."""
    import torch

    return [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
