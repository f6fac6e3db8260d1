"""What a source file uses that Python 3.10 has not: a Jetson with JetPack 6 has no newer one."""

from __future__ import annotations

import ast

#: Names that Python 3.11 to 3.13 added to modules of the standard library that code here may use.
NEWER = {
    "datetime": {"UTC"},
    "enum": {"StrEnum", "ReprEnum", "EnumCheck", "verify", "member", "nonmember", "property", "global_enum"},
    "hashlib": {"file_digest"},
    "typing": {
        "Self", "LiteralString", "Never", "Required", "NotRequired", "Unpack", "TypeVarTuple",
        "assert_never", "assert_type", "reveal_type", "dataclass_transform", "override", "TypeAliasType",
        "ReadOnly", "TypeIs",
    },
    "contextlib": {"chdir"},
    "math": {"cbrt", "exp2", "sumprod", "fma"},
    "itertools": {"batched"},
    "operator": {"call"},
    "logging": {"getLevelNamesMapping", "getHandlerByName"},
    "inspect": {"getmembers_static", "markcoroutinefunction"},
    "asyncio": {"TaskGroup", "Runner", "timeout"},
    "shutil": {"COPY_BUFSIZE"},
    "copy": {"replace"},
    "builtins": {"ExceptionGroup", "BaseExceptionGroup", "PythonFinalizationError"},
}  # fmt: skip
NEWER_MODULES = {"tomllib", "wsgiref.types"}


def newer_names(source: str) -> list[str]:
    """What in `source` Python 3.10 has not; raises SyntaxError for its syntax."""
    tree = ast.parse(source, feature_version=(3, 10))
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name in NEWER_MODULES]
        elif isinstance(node, ast.ImportFrom):
            found += [
                f"{node.module}.{a.name}" for a in node.names if a.name in NEWER.get(node.module or "", ())
            ]
            found += [node.module] if node.module in NEWER_MODULES else []
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            if node.attr in NEWER.get(node.value.id, ()):
                found.append(f"{node.value.id}.{node.attr}")
        elif isinstance(node, ast.Name) and node.id in NEWER["builtins"]:
            found.append(node.id)
        elif isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Tuple):
            if any(isinstance(entry, ast.Starred) for entry in node.slice.elts):  # not refused by ast.parse
                found.append("an unpacked subscript")
        elif isinstance(node, getattr(ast, "TryStar", ())):
            found.append("except*")
    return found
