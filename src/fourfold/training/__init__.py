"""Training: one step, one loop, whatever is trained."""

__all__ = [
    "CheckpointError",
    "Job",
    "NonFinite",
    "Outcome",
    "Step",
    "Training",
    "WorkerLost",
    "check_course",
    "check_job",
    "intervals",
    "launch",
    "load_tensors",
    "restore_module",
    "steps_of",
    "together",
    "train",
]

from .checkpoint import CheckpointError, load_tensors, restore_module
from .course import check_course, steps_of
from .engine import launch
from .job import Job, check_job
from .loop import Outcome, intervals, train
from .meter import NonFinite
from .options import Training
from .step import Step
from .together import WorkerLost, together
