"""The task of a config."""

from train_tpu.config import Config
from train_tpu.tasks.classification import Classification
from train_tpu.tasks.detection import Detection
from train_tpu.tasks.segmentation import Segmentation
from train_tpu.tasks.task import Task

TASKS = {"classification": Classification, "segmentation": Segmentation, "detection": Detection}


def task_of(config: Config) -> Task:
    """`config.task` is one of TASKS (train_tpu.checks)."""
    return TASKS[config.task](config)
