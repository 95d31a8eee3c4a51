"""What a benchmark found, and how it is told."""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Figure:
    """Our figure, and what others reach on the same machine in the same run."""

    name: str
    ours: float
    unit: str
    references: dict[str, float] = field(default_factory=dict)
    notes: dict[str, float] = field(default_factory=dict)
    """What helps to understand the figure: printed, and written beside it."""

    def lines(self) -> list[str]:
        told = [f"{self.name:<22}{'ours':<28}{self.ours:>12,.2f} {self.unit}"]
        for name, value in self.references.items():
            ratio = self.ours / value
            told.append(f"{'':<22}{name:<28}{value:>12,.1f} {self.unit}  ours / it: {ratio:.2f}")
        told += [f"{'':<22}{name:<34}{value:>12,.2f}" for name, value in self.notes.items()]
        return told


def tell(figures: Sequence[Figure], path: Path) -> None:
    """Print a table, and write the figures for machines to read: of other runs, those stay."""
    for figure in figures:
        sys.stdout.write("\n".join(figure.lines()) + "\n")
    sys.stdout.flush()
    path.parent.mkdir(parents=True, exist_ok=True)
    earlier = json.loads(path.read_text()) if path.exists() else {}
    found = {
        figure.name: {
            "ours": figure.ours,
            "unit": figure.unit,
            "references": figure.references,
            "notes": figure.notes,
        }
        for figure in figures
    }
    path.write_text(json.dumps(earlier | found, indent=2) + "\n")
