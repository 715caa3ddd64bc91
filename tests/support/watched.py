"""A cache that tells which stages were really computed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable
from typing import Any

from esm_viz.merge import METHODS
from esm_viz.runtime.stage_cache import StageCache


class Watched(StageCache):
    """A cache that notes every stage that was really computed."""

    def __init__(self) -> None:
        super().__init__(1 << 30)
        self.ran: list[str] = []

    def get(self, key: Hashable, compute: Callable[[], Any], spills: bool = False) -> Any:
        assert isinstance(key, tuple)
        name = key[1] if key[0] in METHODS else key[0]

        def noted() -> Any:
            self.ran.append(str(name))
            return compute()

        return super().get(key, noted, spills)

    def woken(self) -> set[str]:
        """Return what ran since the last question."""
        ran, self.ran = set(self.ran), []
        return ran

    def counted(self) -> Counter[str]:
        """Return how often each stage ran since the last question."""
        ran, self.ran = Counter(self.ran), []
        return ran
