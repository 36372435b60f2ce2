import pytest

pytest.register_assert_rewrite("rag_pipeline_tests.proofs.scenarios")
