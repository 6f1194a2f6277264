"""Texts of different kinds, on which the logits of two GGUFs are compared."""

TEXTS = (
    "Ada Lovelace worked with Charles Babbage in London on a machine that nobody finished in their time.",
    "Play the new album by Nina Simone on Sunday at 7pm, and remind me of the dentist on Monday.",
    "Naloxone reverses the hypotension that clonidine causes in rats, as the University of Oslo reported in 1984.",
)
