"""`stella`, and `python -m stella_cli`."""

from stella_cli.app import build_app
from stella_cli.surroundings import Surroundings


def main() -> None:
    build_app()(obj=Surroundings(), prog_name="stella")


if __name__ == "__main__":
    main()
