"""Convert a pre-trained backbone: python tools/convert_backbone.py SRC DST."""

import sys

from mmdmlora.cli import main

if __name__ == '__main__':
    main(['convert', *sys.argv[1:]])
