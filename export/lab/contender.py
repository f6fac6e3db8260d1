"""Who takes part in a heat: a subject in a setting, under a name."""

from __future__ import annotations

from dataclasses import dataclass

from export.lab.setting import Setting
from export.lab.subject import Subject


@dataclass(frozen=True)
class Contender:
    """`name` is unique in its heat: the subject's where all run in one setting, else with what tells them
    apart ("resnet50 fp16")."""

    name: str
    subject: Subject
    setting: Setting
