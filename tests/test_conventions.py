"""What ARCHITECTURE.md and CONTRIBUTING.md promise of the code."""

import ast
import dataclasses
import importlib
import inspect
import re
import subprocess
import sys
from pathlib import Path
from typing import get_args, get_type_hints

import docstring_parser
import pytest

import safelight
from safelight.config.network import NETWORK_CONFIGS
from safelight.config.search import ALGORITHMS, ENGINES
from safelight.config.task import PRIORS, TASK_CONFIGS, AutoencodeConfig
from safelight.config.training import TrainingConfig
from safelight.engines import executors
from safelight.evolution import algorithms
from safelight.networks.base import Autoencoder, ImageNetwork, Network
from safelight.networks.table import NETWORKS
from safelight.tasks import priors
from safelight.tasks.objective import LIKELIHOODS
from safelight.tasks.table import TASKS

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "safelight"
MODULES = sorted(PACKAGE.rglob("*.py"))

# Wings, each of which may import those before it; inside one, a room may import those before it.
WINGS = {
    "": ("errors", "files", "machine", "showing"),
    "config": ("reading", "network", "corruption", "task", "training", "data", "search", "run", "latent"),
    "data": (
        *("kinds", "colours", "png16", "strips", "tiff", "tiff_writing", "opening", "writing"),
        *("rows", "fitting", "likeness", "listing", "downloads", "named_sets", "cache", "store", "pictures"),
        *("images", "components", "batches", "corruption", "augmentation", "label_files"),
        *("readers", "arrays"),
        *("reading", "sources", "changes", "finding", "traits", "findings", "checking"),
    ),
    "networks": (
        "base",
        "conv_vae",
        "linear_path",
        "deep_conv",
        "unet",
        "classifier",
        "dense",
        "table",
        "tiling",
    ),
    "tasks": (
        *("base", "fidelity", "priors", "objective", "sampling", "autoencode", "severity", "blind_spot"),
        "classic",
        *("denoise", "calibration", "classify", "table"),
    ),
    "engines": ("executors", "jobs", "ranks"),
    "runs": (
        *("folders", "state", "labels", "typical", "folder", "gradients", "training", "settings", "assembly"),
        "choosing",
        *("recorder", "opened"),
    ),
    "cleaning": ("doubts", "cleaner", "in_place", "written", "planning", "files"),
    "reporting": (
        *("sheets", "summary", "diagnosis", "charts", "class_charts", "evaluation_charts", "page"),
        *("report", "comparison", "check", "finds"),
    ),
    "evolution": (
        *(
            "genome",
            "genes",
            "ranking",
            "surrogate",
            "operators",
            "genetic",
            "samplers",
            "algorithms",
            "trial",
            "law",
            "ledger",
        ),
        *("record", "folder", "foresight", "status", "trials", "finals", "protocol", "search", "charts"),
        *("report", "evolve"),
    ),
    "latent": (
        *(
            "codes",
            "parquet",
            "stored",
            "measures",
            "maps",
            "sampling",
            "walks",
            "charts",
            "figures",
            "sheets",
        ),
        *("judging", "onnx", "manual", "export"),
    ),
    "similarity": ("neighbours", "duplicates", "outliers"),
    "labels": (
        *("spreading", "training", "probes", "suggestion", "finetuning", "cross_validation", "predictions"),
    ),
    "explorer": ("contents", "bundling", "labelling", "serving"),
    "the face": ("coding", "run", "api", "in_memory", "estimators"),
    "command": (
        *("verb", "options", "start", "console", "images", "pages", "train", "evolve", "finetune"),
        *("classify", "suggest", "evaluate", "report", "compare", "denoise", "embed", "find", "project"),
        *("sample", "walk", "traverse", "export", "explore", "data", "completion", "main"),
    ),
    "the end": ("__main__",),
}
FLAT = ("", "the face", "the end")  # rooms without a wing's folder
ORDER = [room if wing in FLAT else f"{wing}.{room}" for wing, rooms in WINGS.items() for room in rooms]


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts)


def imports_of(path: Path) -> set[str]:
    """The modules of safelight that a file imports anywhere, also inside functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    ours = {n.removeprefix("safelight.") for n in found if n.startswith("safelight.")}
    return {n for n in ours if (PACKAGE / (n.replace(".", "/") + ".py")).exists()}


def test_modules_and_signatures_are_short():
    """At most 400 lines; at most 8 parameters, but in what the package itself offers."""
    public = {name for name in safelight.__all__ if callable(getattr(safelight, name))}
    for path in MODULES:
        text = path.read_text()
        assert len(text.splitlines()) <= 400, path
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef) and node.name not in public:
                given = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
                names = [argument.arg for argument in given if argument.arg not in ("self", "cls")]
                assert len(names) <= 8, f"{path}: {node.name} takes {', '.join(names)}"


def test_every_module_has_its_place_in_the_order():
    names = {name_of(p) for p in MODULES if p.name != "__init__.py"}
    assert names == set(ORDER)


@pytest.mark.parametrize("path", [p for p in MODULES if p.name != "__init__.py"], ids=name_of)
def test_imports_go_one_way(path):
    own = ORDER.index(name_of(path))
    backward = {n for n in imports_of(path) if ORDER.index(n) >= own}
    assert not backward, f"{name_of(path)} imports {backward}, which stand below it"


def test_the_import_check_can_fail():
    found = imports_of(PACKAGE / "command" / "train.py")
    assert found >= {"config.training", "errors", "command.options", "api"}


def parameters_of(node: ast.FunctionDef) -> int:
    given = (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)
    return len([argument for argument in given if argument.arg not in ("self", "cls")])


@pytest.mark.parametrize("path", sorted((ROOT / "src").rglob("*.py")), ids=lambda path: path.stem)
def test_modules_and_functions_are_small(path):
    """400 lines, 8 parameters; only functions of the public face take more."""
    text = path.read_text()
    assert len(text.splitlines()) <= 400
    module = ".".join(path.relative_to(ROOT / "src").with_suffix("").parts).removeprefix("safelight.")
    public = {name for name, home in safelight._HOMES.items() if home == module}
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef) and node.name not in public:
            assert parameters_of(node) <= 8, f"{node.name} has {parameters_of(node)}"


def test_exported_names_are_what_the_package_says():
    assert safelight.__all__ == sorted(safelight.__all__)
    assert set(safelight._HOMES) == set(safelight.__all__)
    for name in safelight.__all__:
        value = getattr(safelight, name)
        assert value is getattr(importlib.import_module(f"safelight.{safelight._HOMES[name]}"), name)
        assert value.__doc__, name
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = safelight.nothing


def public_things() -> list[tuple[str, object]]:
    things = []
    for path in MODULES:
        if path.name in ("__init__.py", "__main__.py"):
            continue
        module = importlib.import_module(f"safelight.{name_of(path)}")
        assert module.__doc__, path
        assert hasattr(module, "__all__"), path
        things += [(f"{name_of(path)}.{name}", getattr(module, name)) for name in module.__all__]
    return things


def test_every_public_name_and_argument_is_documented():
    for name, thing in public_things():
        if not (inspect.isclass(thing) or inspect.isfunction(thing)):
            continue
        assert inspect.getdoc(thing), name
        if inspect.isfunction(thing):
            described = docstring_parser.parse(thing.__doc__).params
            if described:
                expected = set(inspect.signature(thing).parameters)
                assert {p.arg_name for p in described} == expected, name


def test_the_names_of_the_public_interface_have_examples():
    for name in ("train", "load", "Run", "ImageSet", "ConvVAE", "DeepConvVAE", "DeepConvAE", "Autoencoder"):
        assert ">>> " in getattr(safelight, name).__doc__, name


def test_every_setting_is_described_and_is_an_option(command):
    help_text = " ".join(
        command("train", option, name, "--help").stdout
        for option, table in (("--model", NETWORK_CONFIGS), ("--task", TASK_CONFIGS))
        for name in table
    )
    tasks = dict.fromkeys(TASK_CONFIGS.values(), "--")
    configs = {TrainingConfig: "--", **tasks, **dict.fromkeys(NETWORK_CONFIGS.values(), "--network.")}
    for cls, prefix in configs.items():
        described = {p.arg_name: p.description for p in docstring_parser.parse(cls.__doc__).params}
        names = [f.name for f in dataclasses.fields(cls)]
        assert list(described) == names
        for field in dataclasses.fields(cls):
            has_option = field.name != "name" and not {"table", "derived"} & set(field.metadata)
            assert not has_option or f"{prefix}{field.name.replace('_', '-')}" in help_text


def test_readme_names_every_option_it_uses(command):
    help_text = "".join(command("train", "--task", task, "--help").stdout for task in TASK_CONFIGS)
    for line in re.findall(
        r"^\s*(?:\$ )?safelight train .*$", (ROOT / "README.md").read_text(), re.MULTILINE
    ):
        for option in re.findall(r"(--[a-z][\w.-]*)", line):
            assert option in help_text, line


def test_the_tables_of_a_family_agree():
    """What a family has is listed once without torch, for options and files, and once with what makes it."""
    assert list(NETWORKS) == list(NETWORK_CONFIGS)
    assert list(TASKS) == list(TASK_CONFIGS)
    assert set(algorithms.ALGORITHMS) == set(ALGORITHMS)
    assert list(executors.ENGINES) == list(ENGINES)
    assert list(priors.PRIORS) == list(PRIORS)
    assert tuple(LIKELIHOODS) == get_args(get_type_hints(AutoencodeConfig)["likelihood"])
    for tags, table in ((NETWORKS, NETWORK_CONFIGS), (TASKS, TASK_CONFIGS)):
        for tag in tags:
            assert tag in get_args(get_type_hints(table[tag])["name"])
            assert table[tag](name=tag).name == tag


def test_every_network_is_abstract_or_final_and_overrides_nothing_concrete():
    for cls in NETWORKS.values():
        assert getattr(cls, "__final__", False), cls
        concrete = {
            name
            for base in (Network, ImageNetwork, Autoencoder)
            if issubclass(cls, base)
            for name, value in vars(base).items()
            if inspect.isfunction(value) and not getattr(value, "__isabstractmethod__", False)
        }
        assert not concrete & set(vars(cls)), cls


@pytest.mark.parametrize(
    ("names", "heavy"),
    [
        ("safelight, safelight.command.main", "torch numpy matplotlib sklearn PIL pooch"),
        ("safelight.api, safelight.evolution.trial", "matplotlib optuna pooch scipy skimage sklearn"),
    ],
)
def test_importing_brings_in_nothing_heavy(names, heavy):
    code = (
        f"import sys, {names}\n"
        f"found = set({heavy.split()}) & set(sys.modules)\n"
        "sys.exit(str(found) if found else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_architecture_has_a_line_for_every_module():
    text = (ROOT / "ARCHITECTURE.md").read_text()
    for path in MODULES:
        if path.name != "__init__.py":
            assert f"`{path.relative_to(PACKAGE)}`" in text, path


def python_blocks() -> list[tuple[str, str]]:
    return [
        (f"{name} {i}", block)
        for name in ("README.md", "ARCHITECTURE.md")
        for i, block in enumerate(
            re.findall(r"^```python\n(.*?)^```", (ROOT / name).read_text(), re.M | re.S)
        )
    ]


@pytest.mark.parametrize(
    "block", [block for _, block in python_blocks()], ids=[n for n, _ in python_blocks()]
)
def test_the_documents_examples_run(block, tmp_path):
    done = subprocess.run([sys.executable, "-c", block], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_an_own_task_takes_few_lines():
    (block,) = [block for name, block in python_blocks() if "safelight.Task)" in block]
    assert len([line for line in block.splitlines() if line.strip()]) < 40
