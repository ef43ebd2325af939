"""How to train on a data set: the rules, the command, the memory of a training step. Knows no torch."""

PLAN, FINGERPRINT = "plan.yaml", "fingerprint.json"
#: What a plan leaves in a folder before a run begins there.
PLANNED = (PLAN, FINGERPRINT)
