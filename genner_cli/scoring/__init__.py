"""Gold + predicted -> figures that can be trusted, in pure Python; knows nothing of files and models.

    score(pairs)                     strict counts, over all and by label
    evaluate(extractions)            everything: match modes, labels, errors, intervals
    compare(counts, other_counts)    whether two sets of predictions differ by more than chance
    rate_differences(counts, others) the same for precision and recall, without a test
    document_counts(extraction)      what `compare` compares
    official.document_counts(...)    the same as the paper's scripts count

An extraction brings both sides: `extraction.document.entities` are gold, `extraction.entities` predicted.
"""

from genner_cli.scoring.comparison import Comparison, Difference, compare, rate_differences
from genner_cli.scoring.counts import Counts, Scores, score
from genner_cli.scoring.evaluation import Evaluation, document_counts, evaluate, restricted
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
    "document_counts",
    "evaluate",
    "rate_differences",
    "restricted",
    "score",
]
