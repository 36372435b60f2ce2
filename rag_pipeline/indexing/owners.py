"""Where something is kept, by its digest: ten bytes an entry, so that millions of texts fit beside the work."""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

KEY_BYTES = 8
MERGED_ENTRIES = 10_000
"""New entries that wait in a dict before they are sorted in."""

Keys = npt.NDArray[np.uint64]
Places = npt.NDArray[np.uint32]


class Owners:
    """The place of each digest, known by its first eight bytes.

    Two digests may share those: who looks into the place must expect that it holds another one.
    """

    def __init__(self) -> None:
        self._names: list[str] = []
        self._numbers: dict[str, int] = {}
        self._keys: Keys = np.empty(0, np.uint64)
        self._places: Places = np.empty(0, np.uint32)
        self._recent: dict[bytes, int] = {}

    def add(self, place: str, digests: Iterable[bytes]) -> None:
        """Notes where these digests are; an older note of one gives way."""
        number = self._numbers.setdefault(place, len(self._names))
        if number == len(self._names):
            self._names.append(place)
        self._recent.update((digest[:KEY_BYTES], number) for digest in digests)
        if len(self._recent) > max(MERGED_ENTRIES, len(self._keys) // 4):
            self._merge()

    def find(self, digests: Iterable[bytes]) -> dict[bytes, str]:
        """The place of each digest that is known."""
        wanted = list(digests)
        found = {d: self._names[self._recent[d[:KEY_BYTES]]] for d in wanted if d[:KEY_BYTES] in self._recent}
        older = [digest for digest in wanted if digest not in found]
        if not older or not len(self._keys):
            return found
        keys = _keys_of(older)
        positions = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
        for row in np.flatnonzero(self._keys[positions] == keys):
            found[older[row]] = self._names[self._places[positions[row]]]
        return found

    def _merge(self) -> None:
        keys = np.concatenate([_keys_of(self._recent), self._keys])
        places = np.concatenate([np.fromiter(self._recent.values(), np.uint32, len(self._recent)), self._places])
        self._keys, first = np.unique(keys, return_index=True)
        self._places = places[first]
        self._recent = {}


def _keys_of(digests: Iterable[bytes]) -> Keys:
    return np.frombuffer(b"".join(digest[:KEY_BYTES] for digest in digests), dtype=">u8").astype(np.uint64)
