"""What the tools call."""

import mmdmlora.registry  # noqa: F401, loads mmpretrain before others do
