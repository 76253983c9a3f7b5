"""What every verb can be told: frozen, typed, each field with its meaning where it is declared.

Fields are of two kinds. *Meaning* decides what comes out and is fingerprinted. *Execution* (declared with
:func:`execution`) decides where and how fast, and may change between runs of the same recipe.

Nothing here imports torch: ``--help`` and the validation of a recipe are instant.
"""

from pairwright.options._base import (
    CriticPlugin,
    EditJudgePlugin,
    InstructorPlugin,
    JudgePlugin,
    Model,
    Options,
    PerturbationPlugin,
    Plugin,
    RewardPlugin,
    SaliencyPlugin,
    SourcePlugin,
    execution,
    plain,
)
from pairwright.options._curate import Curate, Filter, Gap, Keep, Mask
from pairwright.options._engine import ENGINES, EngineName, Pool, Ray
from pairwright.options._evaluate import PROTOCOLS, Compare, Generate, PromptSet, Score
from pairwright.options._export import Export, ExportFormat, ExportPairs, PairFormat
from pairwright.options._feedback import Editors, Feedback
from pairwright.options._import import Import
from pairwright.options._study import Study
from pairwright.options._train import Focus, Lora, Optimiser, Previews, Rollout, Train
from pairwright.options._words import WordError, rewards

__all__ = [
    "ENGINES",
    "PROTOCOLS",
    "Compare",
    "CriticPlugin",
    "Curate",
    "EditJudgePlugin",
    "Editors",
    "EngineName",
    "Export",
    "ExportFormat",
    "ExportPairs",
    "Feedback",
    "Filter",
    "Focus",
    "Gap",
    "Generate",
    "Import",
    "InstructorPlugin",
    "JudgePlugin",
    "Keep",
    "Lora",
    "Mask",
    "Model",
    "Optimiser",
    "Options",
    "PairFormat",
    "PerturbationPlugin",
    "Plugin",
    "Pool",
    "Previews",
    "PromptSet",
    "Ray",
    "RewardPlugin",
    "Rollout",
    "SaliencyPlugin",
    "Score",
    "SourcePlugin",
    "Study",
    "Train",
    "WordError",
    "execution",
    "plain",
    "rewards",
]
