"""Ranking from scores: blocks of rows, masking of seen items, and the k best items. Independent of the models."""

from recctl.ranking.blocks import Scorer, cut, map_blocks, rank, rank_block

__all__ = ["Scorer", "cut", "map_blocks", "rank", "rank_block"]
