"""What one GPU can do and what the pipeline makes of it, in one run of under ten minutes, without a network.

    python benchmarks/gpu.py --out gpu.json      on the GPU
    python benchmarks/gpu.py --smoke             the same steps in tiny sizes, on any CPU, in under a minute: no figures

First the limits: matrix products in bfloat16 and copies between host and device. Then four models of the sizes of MiniLM,
bge-small, bge-base and bge-large with random weights (speed does not depend on their values): plain `encode` as documented and
tuned, and this pipeline, over chunks of 512 tokens and over a natural mix of lengths; shares are of the best matrix product of
the same run. Random weights say little about agreement, so that is asked of the packaged MiniLM as well. Last, a switch to
another model: stored chunks through the encoder into the embedded store, until it answers.
Without a GPU and without `--smoke` it says so and ends with 2.
"""

import argparse
import importlib.util
import json
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.gpu_parts.encoding import NATURAL, agreement, compare
from benchmarks.gpu_parts.limits import measure_copies, measure_products
from benchmarks.gpu_parts.models import FULL_SHAPES, SMOKE_SHAPES, Shape, make_model
from benchmarks.gpu_parts.sizes import FULL, SMOKE, Size
from benchmarks.gpu_parts.texts import TextMaker, Texts
from benchmarks.suite.machine import describe_machine
from benchmarks.suite.product import model_path

AGREEMENT = "agreement, packaged MiniLM"
Rows = list[dict[str, Any]]
NO_GPU = "torch finds no CUDA GPU here; run this on a machine that has one, or with --smoke to try the steps on the CPU"


def main(arguments: list[str] | None = None) -> int:
    """The exit code: 2 where there is nothing to measure on, 1 where a part failed."""
    options = _options(arguments)
    import torch

    if not (options.smoke or torch.cuda.is_available()):
        print(NO_GPU, file=sys.stderr)
        return 2
    size = SMOKE if options.smoke else FULL
    device = "cuda" if torch.cuda.is_available() else "cpu"
    result: dict[str, Any] = {"about": _about(device, options, size)}
    with tempfile.TemporaryDirectory(prefix="gpu-bench-", dir=options.folder) as folder:
        run = Run(Path(folder), options.tokenizer or model_path(), device, size, options.seed)
        for part, values in run.parts():
            result[part] = result.get(part, []) + values
            _table(part, values)
            if options.out:
                options.out.write_text(json.dumps(result, indent=1) + "\n")
    return 1 if run.failed else 0


class Run:
    """The parts of one run; one that fails has a row that says so, and the others go on."""

    def __init__(self, folder: Path, tokenizer: Path, device: str, size: Size, seed: int) -> None:
        self.failed = False
        self._folder, self._tokenizer, self._seed = folder, tokenizer, seed
        self._device, self._size = device, size
        self._started = time.monotonic()

    def parts(self) -> Iterator[tuple[str, Rows]]:
        """Name and rows of each part as it is done."""
        device, size = self._device, self._size
        products = measure_products(device, size)
        yield "matrix products", products
        yield "copies", measure_copies(device, size)
        ceiling = max(row["tflop_per_s"] for row in products)
        texts = TextMaker(self._tokenizer, seed=self._seed)
        mixes = {
            f"{size.chunk_tokens} tokens": texts.uniform(size.most_texts, size.chunk_tokens),
            NATURAL: texts.natural(size.most_texts, size.chunk_tokens),
        }
        yield AGREEMENT, self._guarded(lambda: self._agreement(mixes))
        shapes = SMOKE_SHAPES if size.is_smoke else FULL_SHAPES
        for shape in shapes:
            yield "encoding", self._guarded(lambda shape=shape: self._encoding(shape, mixes, ceiling))
        yield "switch", self._guarded(lambda: self._switch(shapes[0], texts))

    def _guarded(self, measure: Callable[[], Rows]) -> Rows:
        try:
            return measure()
        except Exception as error:  # noqa: BLE001 - an hour on a GPU is dear, and the other parts are worth having
            self.failed = True
            traceback.print_exc()
            return [{"failed": f"{type(error).__name__}: {error}"}]

    def _agreement(self, mixes: Mapping[str, Texts]) -> Rows:
        if not (self._tokenizer / "model.safetensors").exists():
            return [{"left_out": "no weights beside the tokenizer"}]
        return agreement(self._tokenizer, mixes[NATURAL], device=self._device, size=self._size)

    def _encoding(self, shape: Shape, mixes: Mapping[str, Texts], ceiling: float) -> Rows:
        if time.monotonic() - self._started > self._size.seconds_for_models:
            return [{"model": shape.name, "left_out": "no time left"}]
        model = make_model(self._folder / shape.name, shape, tokenizer=self._tokenizer, seed=self._seed)
        return list(compare(model, shape, mixes, device=self._device, size=self._size, ceiling=ceiling))

    def _switch(self, shape: Shape, texts: TextMaker) -> Rows:
        if importlib.util.find_spec("qdrant_edge") is None:
            return [{"left_out": "qdrant-edge-py is not installed"}]
        from benchmarks.gpu_parts.switch import measure_switch

        model = self._folder / shape.name
        return [measure_switch(model, self._folder / "store", texts, device=self._device, size=self._size)]


def _about(device: str, options: argparse.Namespace, size: Size) -> dict[str, Any]:
    import torch

    gpus = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    return {
        "host": describe_machine(),
        "device": device,
        "gpus": gpus,
        "cuda": torch.version.cuda,
        "seed": options.seed,
        "is_smoke": size.is_smoke,
        "note": "tiny sizes on whatever is there: says nothing about speed" if size.is_smoke else "",
    }


def _table(title: str, rows: list[dict[str, Any]]) -> None:
    """Prints the rows that have like columns under one head."""
    print(f"\n{title}")
    columns = [key for key, value in rows[0].items() if not isinstance(value, dict | list)]
    widths = {key: max(len(key), *(len(str(row.get(key, ""))) for row in rows)) for key in columns}
    print("  ".join(f"{key:>{widths[key]}}" for key in columns))
    for row in rows:
        print("  ".join(f"{row.get(key, '')!s:>{widths[key]}}" for key in columns), flush=True)


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="tiny sizes, also on a CPU: tries the script, measures nothing")
    parser.add_argument("--seed", type=int, default=1, help="of weights and texts")
    parser.add_argument("--folder", type=Path, help="where models and store lie; default: the temporary folder")
    parser.add_argument(
        "--tokenizer",
        type=Path,
        help="folder with a BERT tokenizer, with or without weights; default: the packaged model",
    )
    parser.add_argument("--out", type=Path, help="file for the JSON")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
