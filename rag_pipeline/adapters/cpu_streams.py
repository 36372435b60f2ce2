"""How many batches a CPU computes side by side.

One batch on all cores waits at every layer for the core that is behind, and in an index run a core is always taken now and
then, by parsing, cutting and storing. Streams of their own wait for nobody. Tokens a second of the packaged model on two cores
with AMX, OpenVINO in bfloat16, chunks of real pages (27 November 2026, ``benchmarks/streams.py``):

=====================  ===========  ==================
batches side by side   both free    one core taken
=====================  ===========  ==================
one, on both cores     27,600       14,600
two, a core each       30,900       20,000
=====================  ===========  ==================
"""

import os

from rag_pipeline.adapters.device_queue import DeviceQueue, QueuedModel
from rag_pipeline.adapters.engines import LoadedModel
from rag_pipeline.adapters.openvino_engine import OpenvinoEngine

BATCH_TOKENS_MIN = 1024
"""Of one stream, since all share ``batch_tokens``. Smaller batches keep a core no busier and are more to keep books of."""

_BATCH_TEXTS = 256


def in_streams(model: LoadedModel[OpenvinoEngine], batch_tokens: int) -> QueuedModel | None:
    """The model with a stream for each core; None where there is one core, or batches too small to share out."""
    streams = max(1, min(core_count(), batch_tokens // BATCH_TOKENS_MIN))
    if streams == 1:
        return None
    model.engine.split(streams)
    return QueuedModel(DeviceQueue([model] * streams), batch_tokens // streams, _BATCH_TEXTS)


def core_count() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
