"""deploy/env.example names every setting of every process, with its default."""

import re

from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings

from tests.house.tree import ROOT, modules

EXAMPLE = ROOT / "deploy" / "env.example"
LINE = re.compile(r"(?m)^(?:# )?(STELLA_[A-Z0-9_]+)=(.*)$")


def settings() -> dict[str, FieldInfo]:
    """Each variable, as the code declares it, where it describes it."""
    for _ in modules():  # defines them
        pass
    classes = list(BaseSettings.__subclasses__())
    for settings_class in classes:
        classes.extend(settings_class.__subclasses__())
    declared = [
        (f"{each.model_config.get('env_prefix', '')}{name}".upper(), field)
        for each in classes
        if each.__module__.startswith("stella_")
        for name, field in each.model_fields.items()
    ]
    # Of two classes with one variable, the description of either will do.
    return dict(sorted(declared, key=lambda each: bool(each[1].description)))


def default_of(field: FieldInfo) -> str:
    """The default as a variable has it; empty where there is none, or none that is fixed."""
    default = field.default
    if isinstance(default, bool):
        return str(default).lower()
    return str(default) if isinstance(default, str | int | float) else ""


def test_example_names_every_setting_and_no_other() -> None:
    named = dict(LINE.findall(EXAMPLE.read_text()))
    known = settings()

    missing = [
        f"# {known[name].description}\n# {name}={default_of(known[name])}"
        for name in sorted(known.keys() - named.keys())
    ]
    unknown = sorted(named.keys() - known.keys())

    assert not missing, "\n".join([f"Add to {EXAMPLE.relative_to(ROOT)}:", *missing])
    assert not unknown, f"Nothing reads these; take them out: {unknown}"


def test_example_shows_the_defaults() -> None:
    named = dict(LINE.findall(EXAMPLE.read_text()))

    wrong = [
        f"{name}={default_of(field)}"
        for name, field in settings().items()
        if named.get(name, default_of(field)) != default_of(field)
    ]

    assert not wrong, f"Show these defaults in {EXAMPLE.relative_to(ROOT)}: {wrong}"


def test_every_setting_says_what_it_is() -> None:
    silent = sorted(name for name, field in settings().items() if not field.description)

    assert not silent, f"Give these a Field(description=…): {silent}"
