"""Progress that nobody watches."""


class SilentProgress:
    """Takes every report and shows nothing."""

    def extend(self, stage: str, amount: int) -> None:
        """Nothing."""

    def advance(self, stage: str, amount: int = 1) -> None:
        """Nothing."""


SILENT = SilentProgress()
