"""Classify images: python tools/predict.py RUN IMAGES..."""

import sys

from mmdmlora.cli import main

if __name__ == '__main__':
    main(['predict', *sys.argv[1:]])
