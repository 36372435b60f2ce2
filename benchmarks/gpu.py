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
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.gpu_parts.encoding import NATURAL, agreement, compare
from benchmarks.gpu_parts.limits import measure_copies, measure_products
from benchmarks.gpu_parts.models import FULL_SHAPES, SMOKE_SHAPES, Shape, make_model
from benchmarks.gpu_parts.sizes import FULL, SMOKE, Size
from benchmarks.gpu_parts.switch import measure_switch
from benchmarks.gpu_parts.texts import TextMaker
from benchmarks.suite.machine import describe_machine
from benchmarks.suite.product import model_path

NO_GPU = "torch finds no CUDA GPU here; run this on a machine that has one, or with --smoke to try the steps on the CPU"


def main(arguments: list[str] | None = None) -> int:
    """The exit code: 2 where there is nothing to measure on."""
    options = _options(arguments)
    import torch

    if not (options.smoke or torch.cuda.is_available()):
        print(NO_GPU, file=sys.stderr)
        return 2
    size = SMOKE if options.smoke else FULL
    device = "cuda" if torch.cuda.is_available() else "cpu"
    result: dict[str, Any] = {"about": _about(device, options, size)}
    with tempfile.TemporaryDirectory(prefix="gpu-bench-", dir=options.folder) as folder:
        for part, values in _parts(Path(folder), device, size, seed=options.seed):
            result[part] = result.get(part, []) + values
            _table(part, values)
            if options.out:
                options.out.write_text(json.dumps(result, indent=1) + "\n")
    return 0


def _parts(folder: Path, device: str, size: Size, *, seed: int) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Name and rows of each part as it is done; what no time is left for has a row that says so."""
    started = time.monotonic()
    products = measure_products(device, size)
    yield "matrix products", products
    yield "copies", measure_copies(device, size)
    ceiling = max(row["tflop_per_s"] for row in products)
    shapes = SMOKE_SHAPES if size.is_smoke else FULL_SHAPES
    texts = TextMaker(model_path(), seed=seed)
    mixes = {
        f"{size.chunk_tokens} tokens": texts.uniform(size.most_texts, size.chunk_tokens),
        NATURAL: texts.natural(size.most_texts, size.chunk_tokens),
    }
    yield "agreement, packaged MiniLM", agreement(model_path(), mixes[NATURAL], device=device, size=size)
    for shape in shapes:
        if time.monotonic() - started > size.seconds_for_models:
            yield "encoding", [{"model": shape.name, "left_out": "no time left"}]
            continue
        model = make_model(folder / shape.name, shape, seed=seed)
        yield "encoding", list(compare(model, shape, mixes, device=device, size=size, ceiling=ceiling))
    yield "switch", [_switch(folder, shapes[0], texts, device=device, size=size)]


def _switch(folder: Path, shape: Shape, texts: TextMaker, *, device: str, size: Size) -> dict[str, Any]:
    return measure_switch(folder / shape.name, folder / "store", texts, device=device, size=size)


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
    parser.add_argument("--out", type=Path, help="file for the JSON")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
