"""What holds for all tests."""

import os

from hypothesis import settings

from rag_pipeline_tests.projects import use_small_slices

settings.register_profile("steady", derandomize=True)
settings.register_profile("explore", max_examples=1_000)
# The same examples each time, so that a change is judged by what it changed; RAG_EXPLORE=1 looks for new ones.
settings.load_profile("explore" if os.environ.get("RAG_EXPLORE") else "steady")

use_small_slices()
