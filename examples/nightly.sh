#!/usr/bin/env bash
# Retrains a recommender on data that grow, and replaces the one in production unless the new one is worse.
#
#     examples/nightly.sh [CONFIG]        default: recctl.yaml; needs bash and jq
#
# The new model is measured on what came after the last interaction that the production model was fitted on, so that
# neither has seen it. If it passes, its settings are fitted on everything there is. A night that was interrupted is
# repeated by running the script again: production changes in one step, after everything else is done.
#
# MAX_DROP: how much of the monitored metric the new model may lose; the interval of the difference must exclude more.
# WARM_START: begin from the model in production and train briefly; the setting that says how briefly, such as
#     model.params.epochs=2 (lightgcn, ncf, sasrec) or model.params.n_iterations=2 (als). Empty: from scratch.
set -euo pipefail

config=${1:-recctl.yaml}
max_drop=${MAX_DROP:-0.005}

names=$(recctl runs list --json | jq -r '.runs[].names[]')
if ! grep -qx production <<< "$names"; then
  echo "first night: there is no production model to compare with"
  run=$(recctl train "$config" --json | jq -r .run_id) # chooses the number of epochs, where early stopping does
  run=$(recctl fit "$run" --all-data --json | jq -r .run_id)
  recctl runs promote "$run" --as production
else
  options=(--refit)
  if [[ -n ${WARM_START:-} ]]; then
    # Production was fitted on everything before test: nothing is left for validation, which would choose the epochs.
    options=(--warm-start production --set "$WARM_START" --set split.val_size=0)
    options+=(--set training.early_stopping=null --set training.refit=false)
  fi
  run=$(recctl train "$config" --test-since production "${options[@]}" --json | jq -r .run_id)
  status=0
  recctl compare "$run" production --test-of "$run" --fail-if-worse --max-drop "$max_drop" || status=$?
  case $status in
    0)
      run=$(recctl fit "$run" --all-data --json | jq -r .run_id)
      recctl runs promote "$run" --as production
      ;;
    6) echo "production stays: $run did not pass" ;;
    *) exit "$status" ;; # the comparison failed, which says nothing about the model
  esac
fi

recctl export production --format recommendations
recctl runs gc --keep 14
