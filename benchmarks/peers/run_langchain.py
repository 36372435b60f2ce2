"""LangChain's ``index()`` with its record manager in SQLite and cleanup ``full``, so that deletions reach the store."""

import time

STARTED = time.perf_counter()

from common import COLLECTION, TUNED_BATCH, Request, open_client, read_request, run
from langchain_classic.indexes import SQLRecordManager, index
from langchain_community.document_loaders import BSHTMLLoader, TextLoader
from langchain_core.documents import Document
from langchain_huggingface import HuggingFaceEmbeddings
from langchain_qdrant import QdrantVectorStore

TUNED_INDEX_BATCH = 1000


def main() -> None:
    request = read_request()
    encode = {"encode_kwargs": {"batch_size": TUNED_BATCH}} if request.is_tuned else {}
    arguments = {"model_kwargs": request.model_arguments} if request.is_tuned else {}
    embeddings = HuggingFaceEmbeddings(model_name=request.model, model_kwargs={"device": "cpu", **arguments}, **encode)
    client = open_client(request)
    store = QdrantVectorStore(client, COLLECTION, embeddings, validate_collection_config=False)
    manager = SQLRecordManager("pages", db_url=f"sqlite:///{request.state / 'records.sqlite'}")
    manager.create_schema()

    def work() -> int:
        options = {"batch_size": TUNED_INDEX_BATCH} if request.is_tuned else {}
        # Its own SHA-1: the other key encoders make ids that are not UUIDs, which Qdrant refuses.
        index(_documents(request), manager, store, cleanup="full", source_id_key="source", **options)
        return int(client.count(COLLECTION).count)

    run(work, request, STARTED)


def _documents(request: Request) -> list[Document]:
    found = []
    for file in request.files():
        loader = BSHTMLLoader(file, open_encoding="utf-8") if file.suffix == ".html" else TextLoader(file)
        loader.load()
        metadata = {"source": request.name(file)}
        found += [Document(page_content=text, metadata=metadata) for text in request.pieces_of(file)]
    return found


if __name__ == "__main__":
    main()
