"""How secrets are found and taken out: a fast finder flags lines, a careful verifier decides on decoded text.

rule.py      what a rule is                    rules_*.py   the catalogue, as data
finder.py    which lines may hold a secret     verify.py    where exactly, and what is written instead
names.py     which key names are sensitive     gate.py      which values are left as they are
jsonwalk.py  strings of a JSON line, in place  decode.py    the same text in other encodings
survey.py    where in a long text to look      nearby.py    what is found around those places
"""
