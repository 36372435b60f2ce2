"""The encoder alone over given texts, nothing else in its process: what an index run is measured against.

    python benchmarks/suite/engines.py ENGINE < request

The request is JSON: ``texts``, ``model`` (a folder), ``window``, ``batch``, and ``vectors``, a file to write them to. The answer
is JSON: ``seconds`` of encoding, the load and one warm batch left out.
"""

import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

ENGINES = ("float32", "bfloat16", "openvino")
NAMES = {
    "float32": "encode, float32, as documented",
    "bfloat16": "encode, bfloat16, tuned",
    "openvino": "OpenVINO bfloat16 alone",
}
WARM_TEXTS = 16
Encode = Callable[[Sequence[str]], Any]


def main() -> None:
    request = json.load(sys.stdin)
    encode = open_engine(sys.argv[1], request["model"], window=request["window"], batch=request["batch"])
    texts = request["texts"]
    encode(texts[:WARM_TEXTS])
    started, cpu = time.perf_counter(), time.process_time()
    vectors = encode(texts)
    seconds, cpu_s = time.perf_counter() - started, time.process_time() - cpu
    if request.get("vectors"):
        import numpy as np

        np.save(request["vectors"], vectors)
    print(json.dumps({"seconds": seconds, "cpu_s": cpu_s}))


def open_engine(name: str, model: str, *, window: int, batch: int) -> Encode:
    """Texts to normalised float32 rows in the given order."""
    return _openvino(model, window, batch) if name == "openvino" else _sentence_transformer(name, model, window, batch)


def _sentence_transformer(dtype: str, path: str, window: int, batch: int) -> Encode:
    import torch
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(path, device="cpu", model_kwargs={"dtype": getattr(torch, dtype)})
    model.max_seq_length = window

    def encode(texts: Sequence[str]) -> Any:
        rows = model.encode(list(texts), batch_size=batch, show_progress_bar=False, convert_to_tensor=True).float()
        return torch.nn.functional.normalize(rows, dim=1).cpu().numpy()

    return encode


def _openvino(path: str, window: int, batch: int) -> Encode:
    """The torch module converted, bfloat16 where the processor has it, batches of texts of like length."""
    import numpy as np
    import openvino
    import torch
    from tokenizers import Tokenizer
    from transformers import AutoModel

    module = AutoModel.from_pretrained(path, attn_implementation="eager").eval()
    example = {name: torch.ones((2, 8), dtype=torch.int64) for name in ("input_ids", "attention_mask", "token_type_ids")}
    core = openvino.Core()
    hints = {"INFERENCE_PRECISION_HINT": "bf16"} if "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES") else {}
    compiled = core.compile_model(openvino.convert_model(module, example_input=example), "CPU", hints)
    inputs = [port.any_name for port in compiled.inputs]
    tokenizer = Tokenizer.from_file(str(next(Path(path).rglob("tokenizer.json"))))
    tokenizer.enable_truncation(window)
    tokenizer.enable_padding()

    def encode_batch(texts: Sequence[str]) -> Any:
        encodings = tokenizer.encode_batch_fast(list(texts))
        mask = np.array([encoding.attention_mask for encoding in encodings], dtype=np.int64)
        feeds = {"input_ids": np.array([encoding.ids for encoding in encodings], dtype=np.int64), "attention_mask": mask}
        feeds["token_type_ids"] = np.zeros_like(mask)
        hidden = compiled({name: feeds[name] for name in inputs})[0]
        pooled = np.einsum("btw,bt->bw", hidden, mask.astype(np.float32))
        return pooled / np.linalg.norm(pooled, axis=1, keepdims=True)

    def encode(texts: Sequence[str]) -> Any:
        order = sorted(range(len(texts)), key=lambda position: -len(texts[position]))
        rows = np.empty((len(texts), module.config.hidden_size), dtype=np.float32)
        for start in range(0, len(order), batch):
            positions = order[start : start + batch]
            rows[positions] = encode_batch([texts[position] for position in positions])
        return rows

    return encode


if __name__ == "__main__":
    main()
