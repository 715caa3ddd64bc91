"""A cache that tells which stages really ran."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

from esm_viz.cache import StageCache
from esm_viz.merge import METHODS


class Watched(StageCache):
    """A cache that notes every stage that was really computed."""

    def __init__(self) -> None:
        super().__init__(1 << 30)
        self.ran: list[str] = []

    def get(self, key: Hashable, compute: Callable[[], Any]) -> Any:
        assert isinstance(key, tuple)
        name = key[1] if key[0] in METHODS else key[0]

        def noted() -> Any:
            self.ran.append(str(name))
            return compute()

        return super().get(key, noted)

    def woken(self) -> set[str]:
        """Return what ran since the last question."""
        ran, self.ran = set(self.ran), []
        return ran
