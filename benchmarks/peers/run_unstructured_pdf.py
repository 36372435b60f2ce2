"""Unstructured's ``fast`` strategy over PDFs, its first call left out."""

import json
import sys
import time

from unstructured.partition.pdf import partition_pdf


def main() -> None:
    files = json.load(sys.stdin)["files"]
    _texts(files[0])
    texts, failed = [], 0
    started, cpu = time.perf_counter(), time.process_time()
    for file in files:
        try:
            texts += _texts(file)
        except Exception as error:  # noqa: BLE001 - whatever a document does to it
            print(f"{file}: {error}", file=sys.stderr)
            failed += 1
    seconds, cpu_s = time.perf_counter() - started, time.process_time() - cpu
    print(json.dumps({"seconds": seconds, "cpu_s": cpu_s, "texts": texts, "failed": failed}))


def _texts(file: str) -> list[str]:
    return [element.text for element in partition_pdf(file, strategy="fast", languages=["eng"])]


if __name__ == "__main__":
    main()
