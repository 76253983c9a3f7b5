"""Scores of pictures as narrow side tables: shard ``i`` of the scores belongs to shard ``i`` of the pictures.

Curation, relabelling and evaluation all score through here. A score is computed once per picture, reward and weights;
adding a reward rewrites nothing. A reward is built only where a score is missing. Rewards that are asked for together read
each picture once (:mod:`pairwright.scoring.together`), and several devices share the shards (:mod:`pairwright.scoring.spread`).
"""

from pairwright.scoring.crewed import score_crewed, score_sets_crewed, takes_device
from pairwright.scoring.pictures import NO_PROMPT, Chosen, Closed, Content, Item, PictureSet, Stored, opened
from pairwright.scoring.scorer import VERB, VERSION, Scorer, score_all
from pairwright.scoring.spread import score_sets
from pairwright.scoring.tables import Scores, read_columns, read_scores
from pairwright.scoring.together import passes, score_node, score_together

__all__ = [
    "NO_PROMPT", "VERB", "VERSION", "Chosen", "Closed", "Content", "Item", "PictureSet", "Scorer", "Scores",
    "Stored", "opened", "passes", "read_columns", "read_scores", "score_all", "score_crewed", "score_node",
    "score_sets", "score_sets_crewed", "score_together", "takes_device",
]  # fmt: skip
