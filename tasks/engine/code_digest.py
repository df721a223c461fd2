"""Digests of the code that a step depends on.

In: a module's name. Out: a SHA-256 of that module, and of every module of this project that it imports, directly or not.
Comments, docstrings and layout don't count: what is hashed is the syntax tree.
"""

import ast
import functools
import hashlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

CODE_ROOT = Path(__file__).parents[2]
_FIRST_PARTY = ("artifacts", "flows", "tasks")

# How steps are run, kept and kept apart, and how they fail: none of it shapes what they make.
PLUMBING = frozenset({
    "tasks.data.attempt_limits",
    "tasks.engine.cache",
    "tasks.engine.cached_task",
    "tasks.engine.code_digest",
    "tasks.engine.optional_parts",
    "tasks.engine.run_log",
    "tasks.engine.workspace",
    "tasks.errors",
    "tasks.filesystem.exclusive_name",
    "tasks.filesystem.regular_files",
    "tasks.filesystem.trusted_files",
    "tasks.safety.address",
    "tasks.safety.environment",
    "tasks.safety.plain_text",
    "tasks.safety.redaction",
    "tasks.safety.stopping",
    "tasks.storage.backend",
    "tasks.storage.checksummed_json",
    "tasks.storage.folders",
    "tasks.storage.locks",
    "tasks.storage.output_files",
    "tasks.storage.page_records",
    "tasks.storage.root_marker",
    "tasks.storage.roots",
    "tasks.storage.s3_leases",
    "tasks.storage.waiting",
})  # fmt: skip

# Before 3.11.8 and 3.12.2, threads that build syntax trees at once get "AST constructor recursion depth mismatch"
# (python/cpython#106905).
_PARSING = threading.Lock()


def code_digest(module: str) -> str:
    """One digest of `module` and of what it imports of this project."""
    return hashlib.sha256(repr(sorted(code_digests(module).items())).encode()).hexdigest()


def code_digests(module: str) -> dict[str, str]:
    """The digest of `module` and of each module that it imports of this project, by name."""
    with _PARSING:
        return {name: _read_module(name).digest for name in sorted(transitive_imports(module))}


class Module(NamedTuple):
    """What its source says of a module: the digest of its meaning, in hex, and the first-party modules that it imports."""

    digest: str  # 64 bits, enough to tell its versions apart
    imports: frozenset[str]


@functools.cache
def _read_module(name: str) -> Module:
    """Parse a module, once: many steps depend on it."""
    tree = ast.parse(source_of(name))
    imports = frozenset(first_party_imports(tree))
    return Module(hashlib.sha256(normalized_source(tree).encode()).hexdigest()[:16], imports)


@functools.cache
def transitive_imports(module: str) -> frozenset[str]:
    """`module` and every first-party module reached from it by imports, except the plumbing."""
    found: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name not in found | PLUMBING:
            found.add(name)
            waiting.extend(_read_module(name).imports)
    return frozenset(found)


def source_of(module: str) -> str:
    """The text of a module's source file."""
    path = module_path(module)
    if path is None:
        raise ModuleNotFoundError(f"no source for module {module}", name=module)
    return path.read_text(encoding="utf-8")


def module_path(module: str) -> Path | None:
    """The source file of a first-party module, found without importing anything; None if there is no such module."""
    place = CODE_ROOT.joinpath(*module.split("."))
    return next((path for path in (place.with_suffix(".py"), place / "__init__.py") if path.is_file()), None)


def first_party_imports(tree: ast.Module) -> Iterator[str]:
    """The first-party modules that a source imports."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if _is_first_party(alias.name))
        elif isinstance(node, ast.ImportFrom) and node.module and _is_first_party(node.module):
            yield node.module
            # `from tasks.data import idx` names a module, `from tasks.data.idx import read_header` does not.
            names = (f"{node.module}.{alias.name}" for alias in node.names)
            yield from (name for name in names if module_path(name))


def _is_first_party(module: str) -> bool:
    """Whether a module belongs to this project."""
    return module.split(".", maxsplit=1)[0] in _FIRST_PARTY


def normalized_source(tree: ast.Module) -> str:
    """A source without its comments, docstrings and layout; the docstrings are taken out of the tree."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and _has_docstring(
            node
        ):
            node.body = node.body[1:] or [ast.Pass()]
    return ast.unparse(tree)


def _has_docstring(node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether the first statement of a body is a bare string."""
    first = node.body[0] if node.body else None
    return isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str)
