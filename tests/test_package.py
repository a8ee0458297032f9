"""The package as a whole: what importing it costs, which names it shows, and that its imports point one way."""

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import convexrelu as cr

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "convexrelu"

# From the bottom up: a module may import from its own line and from lines above it in this list, never from below.
LAYERS = (
    ("errors", "arrays", "cones", "monitor"),
    ("validation", "table", "pruning"),
    ("patterns",),
    ("losses",),
    ("interop",),
    ("network", "linear_part", "linear_fit", "dual_domain", "interpolation", "pricing", "completely_positive"),
    ("problem",),
    ("certificate", "targets", "kernel", "width", "task_basis"),
    ("result",),
    ("univariate",),
    ("native",),
    ("backends",),
    ("program", "joint_program", "recovery", "refit", "cone_split"),
    ("gated_program",),
    ("gated",),
    ("generation", "multitask"),
    ("one_input",),
    ("optimal_set",),
    ("sensitivity",),
    ("solve",),
    ("following",),
    ("events",),
    ("path",),
    ("subgradient", "own_patterns", "descent"),
    ("certify", "improvements", "stationarity"),
    ("optimal_range",),
    ("verification",),
    ("verify",),
)
# A result is where users look for what can be done with it: its methods load what does it when they are called.
DOORS = {("result", "optimal_set")}
RANK = {module: rank for rank, layer in enumerate(LAYERS) for module in layer}
TOP = len(LAYERS)  # everything not named above, such as the command line


def run_python(code):
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout


def imported_modules(tree):
    """Names of all modules a source file imports, at any depth of nesting."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: write the absolute name of the module"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names if node.module == "convexrelu")


def upward_imports(name, source):
    """Imports in the module `name` (below the package) of modules that lie above it."""
    own = RANK.get(name.split(".")[0], TOP)
    for module in imported_modules(ast.parse(source)):
        parts = module.split(".")
        inside = parts[0] == "convexrelu" and len(parts) > 1 and parts[1] != "__version__"
        if inside and RANK.get(parts[1], TOP) > own and (name, parts[1]) not in DOORS:
            yield module


def sources():
    for path in sorted(PACKAGE.rglob("*.py")):
        name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        if name != "__init__":  # the front: it names everything
            yield name, path


@pytest.mark.parametrize(("name", "path"), [pytest.param(*item, id=item[0]) for item in sources()])
def test_imports_point_down(name, path):
    assert list(upward_imports(name, path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("errors", "from convexrelu.solve import solve"),
        ("patterns.cells", "import convexrelu.problem"),
        ("network", "def f():\n    from convexrelu import certificate"),
    ],
)
def test_an_upward_import_is_seen(name, source):
    assert list(upward_imports(name, source))


def test_every_layer_exists():
    existing = {name.split(".")[0] for name, _ in sources()}
    assert set(RANK) <= existing, "LAYERS names modules that are gone"


def test_import_loads_nothing_heavy():
    heavy = {"cvxpy", "sklearn", "torch", "clarabel", "matplotlib", "scipy", "numpy", "ecos", "osqp", "scs", "highspy"}
    loaded = run_python("import convexrelu, sys; print(*sys.modules)").split()
    assert heavy.isdisjoint(loaded)


def test_public_names_do_not_load_solvers():
    # cvxpy and scikit-learn cost a second each; naming the functions must not pay for them.
    code = "import convexrelu as cr, sys; [getattr(cr, name) for name in cr.__all__]; print(*sys.modules)"
    assert {"cvxpy", "sklearn", "torch", "matplotlib"}.isdisjoint(run_python(code).split())


def test_import_takes_less_than_300_ms():
    code = "import time; t = time.perf_counter(); import convexrelu; print(time.perf_counter() - t)"
    # The best of three: the others measure what else this machine was doing.
    assert min(float(run_python(code)) for _ in range(3)) < 0.3


def test_every_public_name_is_there():
    assert sorted(cr.__all__) == dir(cr)
    for name in cr.__all__:
        assert getattr(cr, name) is not None


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = cr.nonsense


def test_function_keeps_its_name_when_its_module_is_imported_first():
    code = "import convexrelu.solve, convexrelu as cr; from convexrelu.solve import solve; print(cr.solve is solve)"
    assert run_python(code).strip() == "True"


def test_type_checkers_see_the_same_names():
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {alias.asname for node in block.body for alias in node.names}
    assert seen | {"__version__"} == set(cr.__all__)


def test_version_has_one_source():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert "version" in settings["project"]["dynamic"]
    assert settings["tool"]["hatch"]["version"]["path"] == "convexrelu/__init__.py"


def test_changelog_knows_this_version():
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"## [{cr.__version__}]" in changelog or "## [Unreleased]" in changelog
