"""The command line: `--config FILE[:ARG] [--workdir DIR] [--config.key=value ...]` -> a resolved config.

absl and ml_collections do the parsing; what they answer with a traceback becomes a UserError of one line.
"""

import dataclasses
import importlib.util
import re
from collections.abc import Sequence
from pathlib import Path

from absl import flags
from ml_collections import ConfigDict, config_flags

import train_tpu
from train_tpu.config import Config, flatten, resolve
from train_tpu.errors import UserError, did_you_mean

INSTALLED_CONFIGS = Path(train_tpu.__file__).resolve().parent.parent / "configs"

USAGE = """usage: python -m train_tpu.main --config FILE[:FORM] [--workdir DIR] [--config.KEY=VALUE ...]

  --config FILE       a recipe, for example configs/next_vit_s.py; with :finetune or :probe from published
                      weights, with :3x a detector for 36 epochs, with :smoke a run of a few steps
  --workdir DIR       checkpoints, metrics and weights (default: runs/<name of the recipe>)
  --allow-config-change
                      go on with a run of another config: weights, optimizer, step and place in the data stay
  --config.KEY=VALUE  change one value of the recipe; the keys follow when --config is given with --help"""


KNOWN = ["--config", "--workdir", "--allow-config-change", "--help"]


class HelpRequested(Exception):
    """--help was given; the message is what to print."""


@dataclasses.dataclass(frozen=True)
class CommandLine:
    """What the user asked for: the resolved config, its name ('next_vit_s'), its file and the workdir."""

    config: Config
    name: str
    config_file: Path
    workdir: Path
    allow_config_change: bool = False


def parse_command_line(argv: Sequence[str]) -> CommandLine:
    """Parse the arguments after the program's name.

    Raises:
      UserError: no --config, a config file or key that does not exist, a value of the wrong type.
      HelpRequested: --help or -h.
    """
    argv = list(argv)
    wants_help = any(arg in ("--help", "-h", "--helpfull", "--helpshort") for arg in argv)
    spec = _value_of("config", argv)
    if wants_help and spec is None:
        raise HelpRequested(USAGE)
    if not spec:
        raise UserError(f"no --config given; try --config configs/next_vit_s.py (recipes: {_recipes()})")
    path, _, arg = spec.partition(":")
    config_file = find_config(path)
    recipe = load_recipe(config_file, arg)
    if wants_help:
        keys = "\n".join(f"  --config.{key}={value!r}" for key, value in flatten(recipe).items())
        raise HelpRequested(f"{USAGE}\n\nkeys of {config_file}:\n{keys}")

    values = flags.FlagValues()
    flags.DEFINE_string("workdir", "", "", flag_values=values)
    flags.DEFINE_bool("allow-config-change", False, "", flag_values=values)
    overrides = [arg for arg in _without("config", argv)]
    for argument in overrides:
        _check_name(argument, recipe)
    try:
        config_flags.DEFINE_config_dict(
            "config", recipe, flag_values=values, sys_argv=["", *overrides], lock_config=True
        )
        rest = values(["", *overrides])[1:]
    except (flags.Error, ValueError, TypeError, KeyError, AttributeError, SyntaxError) as error:
        raise UserError(f"bad argument: {_first_line(error)}") from error
    if rest:
        raise UserError(f"unexpected argument {rest[0]!r}; values are given as --config.key=value")
    overridden = frozenset(config_flags.get_override_values(values["config"]))
    name = config_file.stem + (f"_{arg}" if arg else "")
    workdir = Path(values["workdir"].value or Path("runs") / name)
    allowed = bool(values["allow-config-change"].value)
    return CommandLine(resolve(values["config"].value, overridden), name, config_file, workdir, allowed)


def find_config(path: str) -> Path:
    """The recipe at `path`, or the installed one of that name (its path is printed).

    The installed recipes lie beside this package; they are found by path and never imported as `configs`,
    which may well be the name of a folder of the user's.
    """
    asked = Path(path)
    if asked.is_file():
        return asked
    installed = INSTALLED_CONFIGS / asked.name
    if not asked.is_absolute() and asked.parent in (Path("configs"), Path(".")) and installed.is_file():
        print(f"config: {path} is not in this directory; using the installed {installed}", flush=True)
        return installed
    hint = did_you_mean(asked.stem, [p.stem for p in INSTALLED_CONFIGS.glob("*.py")])
    raise UserError(f"config file {path} does not exist{hint} (recipes: {_recipes()})")


def load_recipe(file: Path, arg: str = "") -> Config:
    """Execute the file and call its `get_config(arg)`."""
    module_spec = importlib.util.spec_from_file_location(f"_recipe_{file.stem}", file)
    if module_spec is None or module_spec.loader is None:
        raise UserError(f"config file {file} is not a Python file")
    module = importlib.util.module_from_spec(module_spec)
    try:
        module_spec.loader.exec_module(module)
    except Exception as error:
        raise UserError(f"config file {file} fails: {type(error).__name__}: {_first_line(error)}") from error
    get_config = getattr(module, "get_config", None)
    if get_config is None:
        raise UserError(f"config file {file} has no function get_config(arg)")
    config = get_config(arg)
    if not isinstance(config, ConfigDict):
        raise UserError(
            f"get_config of {file} returned {type(config).__name__}, not an ml_collections.ConfigDict"
        )
    return config


def _check_name(argument: str, recipe: Config) -> None:
    """Refuse an argument that names no flag and no key, with the names that are close."""
    match = re.match(r"--?(?:no)?config\.([^=]+)", argument)
    if match:
        keys = flatten(recipe)
        main = [key for key in keys if not key.startswith("fallback.")]
        if match[1] not in keys:
            inside = match[1].startswith("model.overrides.")
            hint = (
                "; give all fields at once: --config.model.overrides=\"{'field': value}\""
                if inside
                else _same_leaf(match[1], main) or did_you_mean(match[1], main)
            )
            raise UserError(f"--config.{match[1]}: the config has no such key{hint}")
    elif argument.startswith("-") and not re.match(r"--?(workdir(=|$)|(no)?allow-config-change$)", argument):
        name = argument.split("=")[0]
        raise UserError(f"unknown flag {name}{did_you_mean(name, KNOWN)}")


def _same_leaf(name: str, keys: list[str]) -> str:
    """The hint for a key that was put into another section, or into none."""
    leaf = name.split(".")[-1]
    same = [key for key in keys if key.split(".")[-1] == leaf]
    return f"; did you mean {' or '.join(same[:3])}?" if same else ""


def _value_of(flag: str, argv: list[str]) -> str | None:
    value = None
    for i, argument in enumerate(argv):
        if argument in (f"--{flag}", f"-{flag}"):
            value = argv[i + 1] if i + 1 < len(argv) else ""
        elif re.match(rf"--?{flag}=", argument):
            value = argument.split("=", 1)[1]
    return value


def _without(flag: str, argv: list[str]) -> list[str]:
    kept, skip = [], False
    for argument in argv:
        if skip:
            skip = False
        elif argument in (f"--{flag}", f"-{flag}"):
            skip = True
        elif not re.match(rf"--?{flag}=", argument):
            kept.append(argument)
    return kept


def _recipes() -> str:
    return "one for each model of hvjax.list_models(), such as fastvit_sa12, next_vit_s, resnet50"


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
