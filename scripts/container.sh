#!/bin/sh
# What the container does: it segments $INPUT into $OUTPUT with the model in $MODEL. Further arguments are options of
# `predict`; if the first one is a command of swin-unetr, that command runs instead.
set -eu
: "${MODEL:=/model}" "${INPUT:=/input}" "${OUTPUT:=/output}"
case "${1:-}" in
    "" | -*) exec swin-unetr predict "$MODEL" "$INPUT" --output "$OUTPUT" "$@" ;;
    *) exec swin-unetr "$@" ;;
esac
