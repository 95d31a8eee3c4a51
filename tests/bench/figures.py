"""What a benchmark found, and how it is told."""

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Figure:
    """Our figure, and what others reach on the same machine in the same run."""

    name: str
    ours: float
    unit: str
    references: dict[str, float] = field(default_factory=dict)

    def lines(self) -> list[str]:
        told = [f"{self.name:<22}{'ours':<28}{self.ours:>12,.1f} {self.unit}"]
        for name, value in self.references.items():
            ratio = self.ours / value
            told.append(f"{'':<22}{name:<28}{value:>12,.1f} {self.unit}  ours / it: {ratio:.2f}")
        return told


def tell(figures: list[Figure], path: Path) -> None:
    """Print a table, and write the figures for machines to read."""
    for figure in figures:
        sys.stdout.write("\n".join(figure.lines()) + "\n")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        json.dumps(
            {
                figure.name: {
                    "ours": figure.ours,
                    "unit": figure.unit,
                    "references": figure.references,
                }
                for figure in figures
            },
            indent=2,
        )
        + "\n"
    )
