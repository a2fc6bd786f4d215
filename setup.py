"""Puts into the wheel what is deployed, beside the tools: bridge/product holds it as the checkout does."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
# The layer's own package is in the wheel already: the tools use it too.
UNWANTED = shutil.ignore_patterns("__pycache__", "*.pyc", "helpdesk")
CARRIED = ("template.yaml", "CHANGELOG.md", "functions", "events", "examples")


class WithProduct(build_py):
    """Modules and package data as ever, then the product."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        product = Path(self.build_lib) / "bridge" / "product"
        shutil.rmtree(product, ignore_errors=True)
        for name in CARRIED:
            origin = ROOT / name
            if origin.is_dir():
                shutil.copytree(origin, product / name, ignore=UNWANTED)
            else:
                product.mkdir(parents=True, exist_ok=True)
                shutil.copy(origin, product / name)
        shutil.copytree(ROOT / "layers" / "helpdesk", product / "layers" / "helpdesk", ignore=UNWANTED)


setup(cmdclass={"build_py": WithProduct})
