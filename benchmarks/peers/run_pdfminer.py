"""Text of PDFs by pdfminer.six, the reader under unstructured's ``fast`` strategy, its first call left out.

The strategy itself cannot be imported without unstructured-inference, onnx and torchvision. It does all of this and classifies
the text afterwards, so it is not faster.
"""

import json
import sys
import time

from pdfminer.high_level import extract_text
from pdfminer.pdfexceptions import PDFException


def main() -> None:
    files = json.load(sys.stdin)["files"]
    extract_text(files[0])
    texts, failed = [], 0
    started, cpu = time.perf_counter(), time.process_time()
    for file in files:
        try:
            texts.append(extract_text(file))
        except PDFException as error:
            print(f"{file}: {error}", file=sys.stderr)
            failed += 1
    seconds, cpu_s = time.perf_counter() - started, time.process_time() - cpu
    print(json.dumps({"seconds": seconds, "cpu_s": cpu_s, "texts": texts, "failed": failed}))


if __name__ == "__main__":
    main()
