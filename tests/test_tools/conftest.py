"""The modules of tools/pretrain_vit_tiny are imported as that folder does itself."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2] / 'tools' / 'pretrain_vit_tiny'))
