"""Recipes: YAML files for `swin-unetr finetune --config`."""
