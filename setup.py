"""What pyproject.toml can't say: configs and tools travel inside the package."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

CARRIED = ('configs', 'tools')


class BuildWithConfigs(build_py):
    """Copy configs, tools and the index to ``mmdmlora/.mim`` of what is built.

    OpenMMLab looks for them there. The sources stay as they are; an editable
    installation reads them from the checkout.
    """

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        for name in CARRIED:
            target = Path(self.build_lib, 'mmdmlora', '.mim', name)
            shutil.rmtree(target, ignore_errors=True)
            shutil.copytree(name, target, ignore=shutil.ignore_patterns('__pycache__'))
        shutil.copy('model-index.yml', Path(self.build_lib, 'mmdmlora', '.mim'))


setup(cmdclass={'build_py': BuildWithConfigs})
