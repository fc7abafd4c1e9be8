"""How ties in scores are broken."""

from __future__ import annotations

# Version of the rule; evaluations record it and are compared only with evaluations under the same rule.
# 1: of equal scores, the item with the lower code ranked first (recctl 0.1). It favored items with low ids, which often
#    are the popular ones.
# 2: of equal scores, the item with the lower hash of user and item ranks first.
TIE_RULE = 2
