"""Training: one step, one loop, whatever is trained."""

__all__ = [
    "TOGETHER",
    "CheckpointError",
    "Interrupts",
    "Job",
    "Member",
    "NonFinite",
    "Outcome",
    "Step",
    "Told",
    "Training",
    "WorkerLost",
    "check_course",
    "check_job",
    "intervals",
    "launch",
    "load_state",
    "load_tensors",
    "restore_module",
    "steps_of",
    "together",
    "train",
    "train_several",
]

from .checkpoint import CheckpointError, load_state, load_tensors, restore_module
from .course import check_course, steps_of
from .engine import launch
from .interrupt import Interrupts
from .job import Job, check_job
from .loop import Outcome, intervals, train
from .members import Member
from .meter import NonFinite
from .options import Training
from .several import TOGETHER, Told, train_several
from .step import Step
from .together import WorkerLost, together
