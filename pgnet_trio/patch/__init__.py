"""What changed between two states, small enough to send at every tick.

- `merge`: the format that every client knows, and `diff` and `apply` of it.
- `columns`: the same with tables column by column, for those who know that too; `cells` finds them.
- `sizes`: how many bytes plain data takes.
"""

from __future__ import annotations

from pgnet_trio.patch.columns import apply_columns, diff_columns, growth
from pgnet_trio.patch.merge import apply, diff, is_replacement

__all__ = ["apply", "apply_columns", "diff", "diff_columns", "growth", "is_replacement"]
