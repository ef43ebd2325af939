"""Names of the files of a plan. Knows no torch."""

PLAN, FINGERPRINT = "plan.yaml", "fingerprint.json"
#: What a plan leaves in a folder, before a run begins there.
PLANNED = (PLAN, FINGERPRINT)
