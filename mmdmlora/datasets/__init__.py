"""The data sets and the table of their tasks."""

from .digits import Digits
from .tasks import VTAB_TASKS, Task, find_task, vtab_task
from .vtab import VTAB1k

__all__ = ['VTAB_TASKS', 'Digits', 'Task', 'VTAB1k', 'find_task', 'vtab_task']
