"""The digest of the code that a step depends on.

In: a module's name. Out: a SHA-256 over that module and every module of this project that it imports, directly or not.
Comments, docstrings and layout don't count: what is hashed is the syntax tree.
"""

import ast
import functools
import hashlib
import importlib.util
from collections.abc import Iterator
from pathlib import Path

FIRST_PARTY = ("artifacts", "flows", "tasks")


@functools.cache
def code_digest(module: str) -> str:
    """The digest of `module` and of what it imports of this project."""
    digest = hashlib.sha256()
    for name in sorted(closure(module)):
        digest.update(f"{name}\n{meaning(source_of(name))}\n".encode())
    return digest.hexdigest()


def closure(module: str) -> set[str]:
    """`module` and every first-party module reached from it by imports."""
    found: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting.extend(imported(source_of(name)))
    return found


def source_of(module: str) -> str:
    """The text of a module's source file."""
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"no source for module {module}", name=module)
    return Path(spec.origin).read_text(encoding="utf-8")


def imported(source: str) -> Iterator[str]:
    """The first-party modules that a source text imports."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if is_ours(alias.name))
        elif isinstance(node, ast.ImportFrom) and node.module and is_ours(node.module):
            yield node.module
            # `from tasks import idx` names a module, `from tasks.idx import read` does not.
            names = (f"{node.module}.{alias.name}" for alias in node.names)
            yield from (name for name in names if is_module(name))


def is_ours(module: str) -> bool:
    """Whether a module belongs to this project."""
    return module.split(".")[0] in FIRST_PARTY


def is_module(name: str) -> bool:
    """Whether a dotted name is a module, and not an attribute of one."""
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def meaning(source: str) -> str:
    """A source text without its comments, docstrings and layout."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and has_docstring(node):
            node.body = node.body[1:] or [ast.Pass()]
    return ast.unparse(tree)


def has_docstring(node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether the first statement of a body is a bare string."""
    first = node.body[0] if node.body else None
    return isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str)
