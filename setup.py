"""Packaging of mmdmlora."""

from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent


def read_version() -> str:
    scope: dict = {}
    exec((ROOT / 'mmdmlora' / 'version.py').read_text(), scope)
    return scope['__version__']


# mmengine 0.10.7 imports pkg_resources, which setuptools dropped in release 81, so an
# older setuptools is needed at run time. mmcv is no hard requirement: mmcv and mmcv-lite
# own the same folder, and requiring one would damage an installation of the other.
RUNTIME = [
    'torch>=2.7',
    'torchvision',
    'mmengine>=0.10.7',
    'mmpretrain>=1.2.0',
    'timm>=1.0',
    'safetensors',
    'scikit-learn>=1.3',
    'setuptools<81',
]
TESTS = ['pytest>=8', 'hypothesis', 'peft>=0.12', 'tensorboard']

setup(
    name='mmdmlora',
    version=read_version(),
    description='Dropout-Mixture Low-Rank Adaptation (ECCV 2024) for OpenMMLab',
    long_description=(ROOT / 'README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    packages=find_packages(include=['mmdmlora', 'mmdmlora.*']),
    package_data={'mmdmlora': ['weights/*']},
    python_requires='>=3.10',
    install_requires=RUNTIME,
    extras_require={
        'lite': ['mmcv-lite>=2.1.0'],
        'tests': TESTS,
        'dev': [*TESTS, 'ruff==0.17.6', 'matplotlib'],
    },
)
