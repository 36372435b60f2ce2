"""The peers' splitters told to count in tokens of the model, over texts that are parsed already."""

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

os.environ["TOKENIZERS_PARALLELISM"] = "false"

from transformers import AutoTokenizer

Split = Callable[[str], list[str]]


def main() -> None:
    request = json.load(sys.stdin)
    tokenizer = AutoTokenizer.from_pretrained(request["model"], model_max_length=10**9)
    split = OPENERS[request["peer"]](tokenizer, request["size"], request["overlap"])
    split(request["texts"][0])
    started, cpu = time.perf_counter(), time.process_time()
    chunks = sum(len(split(text)) for text in request["texts"])
    seconds, cpu_s = time.perf_counter() - started, time.process_time() - cpu
    print(json.dumps({"seconds": seconds, "cpu_s": cpu_s, "chunks": chunks}))


def _langchain(tokenizer: Any, size: int, overlap: int) -> Split:
    from langchain_text_splitters import RecursiveCharacterTextSplitter

    splitter = RecursiveCharacterTextSplitter.from_huggingface_tokenizer(tokenizer, chunk_size=size, chunk_overlap=overlap)
    return splitter.split_text


def _llamaindex(tokenizer: Any, size: int, overlap: int) -> Split:
    from llama_index.core.node_parser import SentenceSplitter

    def count(text: str) -> list[int]:
        return list(tokenizer.encode(text, add_special_tokens=False))

    return SentenceSplitter(chunk_size=size, chunk_overlap=overlap, tokenizer=count).split_text


OPENERS = {"LangChain": _langchain, "LlamaIndex": _llamaindex}


if __name__ == "__main__":
    main()
