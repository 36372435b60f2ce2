"""What holds for all tests."""

import os

from hypothesis import settings

settings.register_profile("steady", derandomize=True)
if os.environ.get("CI"):
    settings.load_profile("steady")  # the same examples each time; runs at a desk go on looking for new ones
