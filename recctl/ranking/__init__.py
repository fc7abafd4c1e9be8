"""Ranking from scores: blocks of rows, masking of seen items, and the k best items. Independent of the models."""

from recctl.ranking.blocks import Scorer, cut, map_blocks, rank, rank_block
from recctl.ranking.ties import TIE_RULE, TieBreaker

__all__ = ["TIE_RULE", "Scorer", "TieBreaker", "cut", "map_blocks", "rank", "rank_block"]
