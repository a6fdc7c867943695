"""Five records, and what plans over them."""

from collections.abc import Callable

from producer.plan import Plan

ROWS = ("L1,a,mel,80", "L1,b,nv,", "L2,c,bkl,7.5", "L3,d,mel,60", "L4,e,,50")
MakePlan = Callable[..., Plan]
