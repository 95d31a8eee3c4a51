"""Names, sizes and what may stand in which module."""

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.house.tree import PACKAGES, ROOT, code, files, read, syntax

GRAB_BAGS = {"base", "common", "core", "helper", "helpers", "misc", "shared", "util", "utils"}
NOT_GRAB_BAGS = {Path("shared/runtime/stella_runtime/persistence/base.py")}  # SQLAlchemy's term

LONGEST = 500
ASK_ABOVE = 300
LONG_WITH_REASON = {
    Path("shared/runtime/stella_runtime/telemetry/metrics.py"): "one list of every metric",
    Path("services/health-worker/stella_health_worker/recording.py"): "one batch, first to last",
    Path("extensions/cli/stella_cli/client.py"): "one API, each of its calls once",
    Path("services/api/stella_api/examples.py"): "one example of each answer",
    Path("shared/contracts/stella_contracts/errors.py"): "one tree of errors",
    Path("shared/contracts/stella_contracts/messages.py"): "one list of every message",
    Path("deploy/embedded/stella_embedded/postgres.py"): "one life cycle, start to stop",
    Path("shared/runtime/stella_runtime/persistence/scheduling.py"): "one table and its queries",
}

MAY_COMMIT = {Path("shared/runtime/stella_runtime/persistence/transaction.py")}

MAY_CATCH_ALL = {
    Path("extensions/cli/stella_cli/app.py"): "command groups of other distributions",
    Path("services/api/stella_api/middleware.py"): "a caller gets a problem, whatever happens",
    Path("services/health-worker/stella_health_worker/prober.py"): "the plugin boundary",
    Path("services/health-worker/stella_health_worker/recording.py"): (
        "who waits for a batch must hear of every failure"
    ),
    Path("shared/runtime/stella_runtime/messaging/consumer.py"): "the consumer",
    Path("shared/runtime/stella_runtime/messaging/handling.py"): "the consumer",
    Path("shared/runtime/stella_runtime/messaging/in_process.py"): "the consumer",
    Path("shared/runtime/stella_runtime/messaging/rabbitmq.py"): "the consumer's own tasks",
}
"""Beside the plugin host, where a plugin may raise anything."""


def test_no_module_is_a_grab_bag() -> None:
    found = [path for path in files(".py") if path.stem in GRAB_BAGS and path not in NOT_GRAB_BAGS]

    assert not found, f"Name these for the noun that they serve: {_listed(found)}"


def test_files_are_short() -> None:
    source = [path for suffix in (".py", ".ts", ".kt") for path in files(suffix)]
    lines = {path: len(read(path).splitlines()) for path in source}

    too_long = [path for path, count in lines.items() if count > LONGEST]
    unexplained = [
        path
        for path, count in lines.items()
        if count > ASK_ABOVE and path.parts[0] != "tests" and path not in LONG_WITH_REASON
    ]

    assert not too_long, f"Split what is over {LONGEST} lines: {_listed(too_long)}"
    assert not unexplained, (
        f"Over {ASK_ABOVE} lines: split, or say in LONG_WITH_REASON why it is one thing:"
        f" {_listed(unexplained)}"
    )


def test_only_transactions_commit() -> None:
    found = [
        f"{path}:{node.lineno}"
        for path in code()
        if path not in MAY_COMMIT
        for node in ast.walk(syntax(path))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "commit"
    ]

    assert not found, f"Leave the commit to Database.transaction: {found}"


def test_only_boundaries_catch_everything() -> None:
    found = [
        f"{path}:{handler.lineno}"
        for path in code()
        if path not in MAY_CATCH_ALL and "plugin_host" not in path.parts
        for handler in _catch_alls(syntax(path))
    ]

    assert not found, (
        f"Catch the narrowest class, or re-raise; a new boundary goes into MAY_CATCH_ALL: {found}"
    )


def test_our_own_code_is_not_patched() -> None:
    patching = {"patch", "setattr"}
    found = [
        f"{path}:{node.lineno}"
        for path in files(".py")
        if path.parts[0] == "tests" or "tests" in path.parts
        for node in ast.walk(syntax(path))
        if isinstance(node, ast.Attribute)
        and node.attr in patching
        and isinstance(node.value, ast.Name)
        and node.value.id in {"monkeypatch", "mocker", "mock", "unittest"}
    ]

    assert not found, f"Pass a fake in instead of patching: {found}"


def test_every_module_says_what_it_is() -> None:
    found = [
        path
        for path in files(".py")
        if read(path).strip() and not (ast.get_docstring(syntax(path)) or "").strip()
    ]

    assert not found, f"Begin these with a docstring, their line in the tree: {_listed(found)}"


def test_every_package_says_what_it_is_in_one_line() -> None:
    inits = [path for path in files("__init__.py") if ast.get_docstring(syntax(path))]
    found = [path for path in inits if "\n" in (ast.get_docstring(syntax(path)) or "")]

    assert not found, f"Make the docstring of these one line: {_listed(found)}"


def test_every_package_is_typed() -> None:
    found = [
        folder.relative_to(ROOT)
        for folder in PACKAGES.values()
        if not (folder / "py.typed").exists()
    ]

    assert not found, f"Add an empty py.typed to: {_listed(found)}"


def test_lists_of_exceptions_name_files_that_exist() -> None:
    named = [*NOT_GRAB_BAGS, *LONG_WITH_REASON, *MAY_COMMIT, *MAY_CATCH_ALL]
    gone = [path for path in named if not (ROOT / path).exists()]

    assert not gone, f"Take these out of this module's lists: {_listed(gone)}"


def _catch_alls(tree: ast.Module) -> Iterator[ast.ExceptHandler]:
    """Handlers of any exception that do not pass it on."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.ExceptHandler):
            continue
        caught = (
            {name.id for name in ast.walk(node.type) if isinstance(name, ast.Name)}
            if (node.type)
            else {"BaseException"}
        )
        if caught & {"Exception", "BaseException"} and not isinstance(node.body[-1], ast.Raise):
            yield node


def _listed(paths: list[Path]) -> str:
    return ", ".join(str(path) for path in paths)
