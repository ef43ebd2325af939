"""Plans for pre-training: scans and a machine in, a recipe with its reasons out."""

#: Name of a plan's file, in the folder of the run.
PLAN = "plan.yaml"
