"""The paper's questions (arXiv 2601.17898), asked of any data and any model: documents in, cells with figures out.

    formats        which output format, under which constraint
    memorization   what is left where names of labels mean nothing, and where entities were never seen
    constraint     what a constraint costs or gains
    retention      what a model still knows after an adapter

Each works in a folder, stage by stage; a stage whose result stands there is not done again. Knows nothing of the
terminal.
"""
