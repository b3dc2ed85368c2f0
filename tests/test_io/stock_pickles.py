"""Objects that a stock OpenMMLab checkpoint holds, with what doesn't belong into them."""

from mmengine.logging import HistoryBuffer


def poisoned_buffer(**state) -> HistoryBuffer:
    """A buffer whose pickled state holds whatever is given."""
    buffer = HistoryBuffer([1.0, 3.0], [1, 1])
    vars(buffer).update(state)
    return buffer
