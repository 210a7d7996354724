"""The named experiments of the book: ``python -m lindiff.experiments list``."""
