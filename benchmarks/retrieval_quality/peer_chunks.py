"""The peers' default splitters over texts from standard input. Runs in an environment of its own; knows nothing of us.

In: JSON lines with id and text. Out: JSON lines with peer, id and chunks.
Needs langchain-text-splitters, llama-index-core and haystack-ai.
"""

import json
import os
import sys
from collections.abc import Callable

os.environ["HAYSTACK_TELEMETRY_ENABLED"] = "False"

from haystack import Document
from haystack.components.preprocessors import DocumentSplitter
from langchain_text_splitters import RecursiveCharacterTextSplitter
from llama_index.core.node_parser import SentenceSplitter

Split = Callable[[str], list[str]]


def main() -> None:
    documents = [json.loads(line) for line in sys.stdin]
    for peer, split in (("langchain", _langchain()), ("llamaindex", SentenceSplitter().split_text), ("haystack", _haystack())):
        for document in documents:
            print(json.dumps({"peer": peer, "id": document["id"], "chunks": split(document["text"])}))


def _langchain() -> Split:
    """The values of LangChain's tutorials, 1,000 characters with 200 repeated; the class alone says 4,000."""
    return RecursiveCharacterTextSplitter(chunk_size=1000, chunk_overlap=200).split_text


def _haystack() -> Split:
    splitter = DocumentSplitter()
    return lambda text: [str(part.content) for part in splitter.run([Document(content=text)])["documents"]] if text else []


if __name__ == "__main__":
    main()
