"""Tasks whose images are drawn by a program."""

from .generated_task import GeneratedTask

__all__ = ['GeneratedTask']
