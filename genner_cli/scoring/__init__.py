"""Gold + predicted -> figures that can be trusted, in pure Python; knows nothing of files and models.

    score(pairs)                     strict counts, over all and by label
    evaluate(extractions)            everything: match modes, labels, errors, intervals
    compare(first, second)           whether two sets of predictions differ by more than chance
    official.score(...)              as the paper's scripts count

An extraction brings both sides: `extraction.document.entities` are gold, `extraction.entities` predicted.
"""

from genner_cli.scoring.comparison import Comparison, Difference, compare
from genner_cli.scoring.counts import Counts, Scores, score
from genner_cli.scoring.evaluation import Evaluation, evaluate, restricted
from genner_cli.scoring.figures import Estimate, Figures
from genner_cli.scoring.matching import ErrorClass, Mode

__all__ = [
    "Comparison",
    "Counts",
    "Difference",
    "ErrorClass",
    "Estimate",
    "Evaluation",
    "Figures",
    "Mode",
    "Scores",
    "compare",
    "evaluate",
    "restricted",
    "score",
]
