"""What ``dagster`` loads: the inventory of the index that ``RAG_CONFIG`` (or ./rag_pipeline.yaml) describes."""

from rag_pipeline.defs.inventory import make_definitions
from rag_pipeline.project import Project

defs = make_definitions(Project.load())
