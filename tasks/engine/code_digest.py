"""Compute digests of the code that a step depends on.

The digests cover a module and all modules of this project that it imports, directly or indirectly. Comments,
docstrings and layout do not count, because the syntax tree is hashed.
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

# Modules that run, store and lock steps, and report their errors: none of them changes the result of a step.
PLUMBING = frozenset({
    "tasks.data.attempt_limits",
    "tasks.engine.cache",
    "tasks.engine.cached_task",
    "tasks.engine.code_digest",
    "tasks.engine.optional_parts",
    "tasks.engine.run_log",
    "tasks.engine.task_progress",
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
    "tasks.storage.local_storage",
    "tasks.storage.locks",
    "tasks.storage.output_files",
    "tasks.storage.page_records",
    "tasks.storage.root_marker",
    "tasks.storage.roots",
    "tasks.storage.s3_leases",
    "tasks.storage.s3_storage",
    "tasks.storage.storage",
})  # fmt: skip

# Before Python 3.11.8 and 3.12.2, threads that parse at the same time get "AST constructor recursion depth mismatch"
# (python/cpython#106905).
_PARSING = threading.Lock()


def code_digest(module: str) -> str:
    """Return a single SHA-256 in hex of `module` and the modules of this project that it imports."""
    return hashlib.sha256(repr(sorted(code_digests(module).items())).encode()).hexdigest()


def code_digests(module: str) -> dict[str, str]:
    """Return the digest of `module` and of each module of this project that it imports, by module name."""
    with _PARSING:
        return {name: _read_module(name).digest for name in sorted(transitive_imports(module))}


class Module(NamedTuple):
    """The digest of a module's normalized source in hex, and the first-party modules that it imports."""

    digest: str  # 64 bits, enough to distinguish the versions of a module
    imports: frozenset[str]


@functools.cache
def _read_module(name: str) -> Module:
    """Parse a module, only once because many steps depend on it."""
    tree = ast.parse(source_of(name))
    imports = frozenset(first_party_imports(tree))
    return Module(hashlib.sha256(normalized_source(tree).encode()).hexdigest()[:16], imports)


@functools.cache
def transitive_imports(module: str) -> frozenset[str]:
    """Return `module` and every first-party module that it imports, directly or indirectly, except the plumbing."""
    found: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name not in found | PLUMBING:
            found.add(name)
            waiting.extend(_read_module(name).imports)
    return frozenset(found)


def source_of(module: str) -> str:
    """Return the source code of a module.

    Raises:
        ModuleNotFoundError: If the module has no source file in this project.
    """
    path = module_path(module)
    if path is None:
        raise ModuleNotFoundError(f"no source for module {module}", name=module)
    return path.read_text(encoding="utf-8")


def module_path(module: str) -> Path | None:
    """Return the source file of a first-party module without importing it, or None if there is no such module."""
    place = CODE_ROOT.joinpath(*module.split("."))
    return next((path for path in (place.with_suffix(".py"), place / "__init__.py") if path.is_file()), None)


def first_party_imports(tree: ast.Module) -> Iterator[str]:
    """Yield the first-party modules that a source imports."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if _is_first_party(alias.name))
        elif isinstance(node, ast.ImportFrom) and node.module and _is_first_party(node.module):
            yield node.module
            # `from tasks.data import idx` names a module, `from tasks.data.idx import read_header` does not.
            names = (f"{node.module}.{alias.name}" for alias in node.names)
            yield from (name for name in names if module_path(name))


def _is_first_party(module: str) -> bool:
    return module.split(".", maxsplit=1)[0] in _FIRST_PARTY


def normalized_source(tree: ast.Module) -> str:
    """Return the source of a syntax tree without comments, docstrings and layout.

    The docstrings are removed from `tree` in place.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and _has_docstring(
            node
        ):
            node.body = node.body[1:] or [ast.Pass()]
    return ast.unparse(tree)


def _has_docstring(node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Return whether the first statement of a body is a string literal."""
    first = node.body[0] if node.body else None
    return isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str)
