"""The script for a GPU, tried on a CPU in tiny sizes."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from benchmarks.gpu import AGREEMENT, Run
from benchmarks.gpu_parts.models import FULL_SHAPES
from benchmarks.gpu_parts.sizes import SMOKE
from benchmarks.gpu_parts.texts import TextMaker
from benchmarks.suite.product import model_path

ROOT = Path(__file__).parents[2]


def _run(*options: str) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, str(ROOT / "benchmarks" / "gpu.py"), *options]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)


def test_without_a_gpu_it_says_so_in_one_line() -> None:
    done = _run()
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1
    assert "--smoke" in done.stderr


def test_a_try_goes_through_every_part(tmp_path: Path) -> None:
    done = _run("--smoke", "--folder", str(tmp_path), "--out", str(tmp_path / "gpu.json"))
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "gpu.json").read_text())
    assert result["about"]["is_smoke"]
    assert {"date", "versions"} <= result["about"]["host"].keys()
    assert all(row["tflop_per_s"] > 0 for row in result["matrix products"])
    assert len(result["copies"]) == 2
    assert len(result["encoding"]) == 2 * 3 * 2  # models, contestants, mixes
    assert all(row["tokens_per_s"] > 0 and row["cosine_min"] > 0.99 for row in result["encoding"])
    assert all(row["cosine_min"] > 0.99 for row in result[AGREEMENT])
    assert result["switch"][0]["chunks"] == 96
    assert {path.name for path in tmp_path.iterdir()} == {"gpu.json"}


def test_a_tokenizer_alone_is_enough(tmp_path: Path) -> None:
    """The weights of the packaged model may be too much to carry to a machine without a network."""
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(model_path() / name, tmp_path / name)
    run = Run(tmp_path, tmp_path, "cpu", SMOKE, 1)
    run._switch = lambda *_: 1 // 0  # type: ignore[assignment, method-assign]
    parts = list(run.parts())
    assert [name for name, _ in parts] == ["matrix products", "copies", AGREEMENT, "encoding", "encoding", "switch"]
    assert parts[2][1] == [{"left_out": "no weights beside the tokenizer"}]
    assert [len(rows) for _, rows in parts[3:5]] == [6, 6]
    assert parts[5][1][0]["failed"].startswith("ZeroDivisionError")
    assert run.failed


@pytest.mark.parametrize("mix", ["uniform", "natural"])
def test_texts_have_the_tokens_that_are_counted(mix: str) -> None:
    texts, lengths = getattr(TextMaker(model_path(), seed=1), mix)(50, 300)
    tokenizer = Tokenizer.from_file(str(model_path() / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    assert [len(tokenizer.encode(text).ids) for text in texts] == lengths
    assert (len(set(lengths)) == 1) == (mix == "uniform")
    assert max(lengths) <= 300


def test_operations_are_those_of_the_layers() -> None:
    gflops = {shape.name: shape.flops([512]) / 1e9 for shape in FULL_SHAPES}
    assert gflops == pytest.approx({"MiniLM": 13.3, "bge-small": 26.6, "bge-base": 96.6, "bge-large": 335}, rel=0.005)
    shape = FULL_SHAPES[0]
    assert shape.flops([512]) > 2 * shape.flops([256])  # attention grows with the square
