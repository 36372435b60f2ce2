"""Models of the usual sizes with random weights, as folders that sentence-transformers and the pipeline open."""

import json
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt")
_VOCABULARY = 30_522
POSITIONS = 512


@dataclass(frozen=True, slots=True)
class Shape:
    """Size of a BERT encoder."""

    name: str
    layers: int
    width: int
    heads: int

    def flops(self, lengths: Iterable[int]) -> float:
        """Floating point operations over texts of these tokens, padding left out.

        Per token and layer: 12 width^2 weights, each a multiplication and an addition, and attention to every token of the
        text, twice (scores, and the weighted sum).
        """
        weights = 2 * 12 * self.layers * self.width**2
        return float(sum(length * (weights + 4 * self.layers * self.width * length) for length in lengths))


FULL_SHAPES = (
    Shape("MiniLM", 6, 384, 12),
    Shape("bge-small", 12, 384, 12),
    Shape("bge-base", 12, 768, 12),
    Shape("bge-large", 24, 1024, 16),
)
SMOKE_SHAPES = (Shape("tiny", 1, 32, 2), Shape("small", 2, 64, 4))


def make_model(folder: Path, shape: Shape, *, tokenizer: Path, seed: int) -> Path:
    """The folder: weights as safetensors, the tokenizer of another folder, mean pooling, normalised."""
    import torch
    from transformers import BertConfig, BertModel
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=_VOCABULARY,
        hidden_size=shape.width,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        intermediate_size=4 * shape.width,
        max_position_embeddings=POSITIONS,
    )
    BertModel(config).save_pretrained(folder, safe_serialization=True)
    for name in _TOKENIZER_FILES:
        if (tokenizer / name).exists():
            shutil.copy(tokenizer / name, folder / name)
    _write(
        folder / "modules.json", [_module(0, "", "Transformer"), _module(1, "1_Pooling", "Pooling"), _module(2, "2", "Normalize")]
    )
    _write(folder / "1_Pooling" / "config.json", {"word_embedding_dimension": shape.width, "pooling_mode_mean_tokens": True})
    _write(folder / "sentence_bert_config.json", {"max_seq_length": POSITIONS, "do_lower_case": False})
    return folder


def _module(number: int, path: str, kind: str) -> dict[str, object]:
    return {"idx": number, "name": str(number), "path": path, "type": f"sentence_transformers.models.{kind}"}


def _write(file: Path, content: object) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content))
