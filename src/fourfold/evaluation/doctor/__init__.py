"""The doctor: measurements of a model, held against thresholds, in words; it knows numbers and tensors only."""

__all__ = [
    "Answer",
    "Checkup",
    "Diagnosis",
    "Exam",
    "Facts",
    "History",
    "Measured",
    "Sound",
    "Standing",
    "Unchecked",
    "checkup",
    "examine",
]

from .checkup import Answer, Checkup, Diagnosis, Measured, Sound, Unchecked
from .exam import Exam, examine
from .facts import Facts, History, Standing
from .judge import checkup
