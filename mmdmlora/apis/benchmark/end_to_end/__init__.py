"""Whole trainings, from image files to a tested model, against a stock pipeline."""
