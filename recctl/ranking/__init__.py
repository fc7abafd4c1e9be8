"""Ranking: blocks of scores, masking of seen items, the k best, and metrics on arrays. Knows no model."""

from recctl.ranking.blocks import Scorer, cut, map_blocks, rank, rank_block

__all__ = ["Scorer", "cut", "map_blocks", "rank", "rank_block"]
