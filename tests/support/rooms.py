"""The rooms of the product, as its import rules name them."""

import tomllib

from installation.local.data_dir import CHECKOUT

LINTER = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["tool"]["importlinter"]
ROOMS: list[str] = LINTER["root_packages"]
