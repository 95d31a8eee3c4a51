"""What processes hold while they run: descriptors, memory, channels. It may not grow."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

import psutil

from tests.support.rabbitmq import Management

FIRST_SHARE = 0.3
"""Of the samples, at the beginning and at the end, that are compared."""
DESCRIPTORS_MORE = 3
MEMORY_MORE = 0.10
"""Of what was held in the beginning."""
MEBIBYTE = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Sample:
    """One moment."""

    descriptors: Mapping[str, int]
    memory: Mapping[str, int]
    channels: int


@dataclass(frozen=True, slots=True)
class Growth:
    """What one process held at the beginning, and at the end."""

    name: str
    descriptors: tuple[float, float]
    memory: tuple[float, float]
    """In MiB."""

    @property
    def is_flat(self) -> bool:
        before, after = self.descriptors
        if after > before + DESCRIPTORS_MORE:
            return False
        before, after = self.memory
        return after <= before * (1 + MEMORY_MORE)


@dataclass(frozen=True, slots=True)
class Held:
    """What all of them held, all the time."""

    samples: Sequence[Sample]

    def growths(self) -> list[Growth]:
        first, last = self._ends()
        return [
            Growth(
                name,
                (
                    median(each.descriptors[name] for each in first),
                    median(each.descriptors[name] for each in last),
                ),
                (
                    median(each.memory[name] for each in first) / MEBIBYTE,
                    median(each.memory[name] for each in last) / MEBIBYTE,
                ),
            )
            for name in (self.samples[0].descriptors if self.samples else ())
        ]

    def channels(self) -> tuple[float, float]:
        first, last = self._ends()
        if not first:
            return 0, 0
        return median(each.channels for each in first), median(each.channels for each in last)

    @property
    def is_flat(self) -> bool:
        before, after = self.channels()
        return after <= before and all(each.is_flat for each in self.growths())

    def _ends(self) -> tuple[Sequence[Sample], Sequence[Sample]]:
        share = max(1, int(len(self.samples) * FIRST_SHARE))
        return self.samples[:share], self.samples[-share:]


def sample(pids: Mapping[str, int], management: Management, virtual_host: str) -> Sample:
    processes = {name: psutil.Process(pid) for name, pid in pids.items()}
    return Sample(
        descriptors={name: process.num_fds() for name, process in processes.items()},
        memory={name: process.memory_info().rss for name, process in processes.items()},
        channels=management.channels(virtual_host),
    )
