"""Statements out of the middle of a long method, run on their own."""

import ast
import inspect
import sys
import textwrap


def targets(statement):
    """The names that a statement assigns."""
    assigned = statement.targets if isinstance(statement, ast.Assign) else []
    return {name.id for target in assigned for name in ast.walk(target) if isinstance(name, ast.Name)}


def lift(method, first, last):
    """A function that runs what stands in the source of `method` between the first assignment to `first` and the last one to `last` in the
    same block, both included, and returns every variable. It is the library's source that runs, not a copy of it."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(method)))
    blocks = [node.body for node in ast.walk(tree) if isinstance(getattr(node, "body", None), list)]
    for block in blocks:
        starts = [i for i, statement in enumerate(block) if first in targets(statement)]
        ends = [i for i, statement in enumerate(block) if last in targets(statement)]
        if starts and ends and starts[0] <= ends[-1]:
            code = compile(ast.Module(block[starts[0] : ends[-1] + 1], []), f"<{method.__qualname__}>", "exec")
            library = vars(sys.modules[method.__module__])

            def run(**given):
                variables = {**library, **given}
                exec(code, variables)
                return variables

            return run
    raise LookupError(f"{method.__qualname__} does not assign {first} and then {last} in one block")
