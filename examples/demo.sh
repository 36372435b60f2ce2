#!/bin/sh
# Indexes the bundled documents with the embedded store and asks three questions. Run by `make demo`.
set -eu
config=examples/rag_pipeline.yaml
echo "== Indexing the documents in examples/documents"
rag index --config "$config"
for question in \
  "How can a WAL segment be archived sooner when the server has little traffic?" \
  "What does bzip2recover do with a damaged file?" \
  "apt-get 명령으로 데비안 시스템을 어떻게 업그레이드하나요?"
do
  echo
  echo "== $question"
  rag query --config "$config" --limit 1 "$question"
done
cat <<'NEXT'
== What next
  . .venv/bin/activate                                  put rag on your path
  rag query --config examples/rag_pipeline.yaml "..."   ask something else
  edit, rename or delete a file in examples/documents, then: rag index --config examples/rag_pipeline.yaml
  make dev                                              the asset graph in your browser, http://127.0.0.1:3000
  docs/how-to/own-folder.md                             your own documents in five minutes
NEXT
