"""Which modules a file imports, read from its source."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]


def imported_modules(path: Path, root: Path = ROOT) -> Iterator[str]:
    """The full names of what a file imports, wherever in the file.

    Relative imports are resolved. ``from a import b`` gives ``a.b``, because ``b`` may be
    a module.

    Args:
        path (Path): The file.
        root (Path): The folder that the first part of its module's name lies in.
    """
    package = path.relative_to(root).parent.parts
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) + 1 - node.level] if node.level else ()
            base = '.'.join([*start, *filter(None, [node.module])])
            yield from (f'{base}.{alias.name}' for alias in node.names)
