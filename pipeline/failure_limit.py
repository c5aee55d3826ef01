"""When a run that goes wrong is stopped: the limit of ``--max-failed``."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass

_LEAST_FOR_PERCENT = 20


class TooManyFailedError(Exception):
    """More inputs failed than ``--max-failed`` allows."""


@dataclass(frozen=True)
class FailureLimit:
    """How many inputs may fail before a run is stopped: a count, or a percentage."""

    amount: float
    is_percent: bool

    @classmethod
    def parse(cls, text: str) -> FailureLimit:
        """Read ``20`` or ``5%``.

        Raises:
            ValueError: it is neither.
        """
        number = text.strip().removesuffix("%")
        is_percent = text.strip().endswith("%")
        amount = float(number) if is_percent else int(number)
        if not (0 <= amount < math.inf) or (is_percent and amount > 100):
            raise ValueError(text)
        return cls(amount, is_percent)

    def check(self, statuses: Counter[str]) -> None:
        """Raise a TooManyFailedError where the limit is passed.

        A percentage counts from 20 finished inputs on.
        """
        failed, done = statuses["failed"], sum(statuses.values())
        if self.is_percent:
            passed = done >= _LEAST_FOR_PERCENT and 100 * failed > self.amount * done
            limit = f"{self.amount:g} % of those finished"
        else:
            passed, limit = failed > self.amount, f"{self.amount:g}"
        if passed:
            raise TooManyFailedError(
                f"Stopped: {failed} of {done} inputs failed, more than --max-failed allows "
                f"({limit}). What is done is kept; run the same command again to go on."
            )
