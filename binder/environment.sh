# What the image's build and its start agree on: where things are, and that nobody reports to anybody. Sourced by both.
# shellcheck shell=bash

export MLOPS_LAB_HOME="$HOME/.mlops_lab"
export MLOPS_LAB_DEMO="$HOME/mlops-lab-demo"
export MLFLOW_DISABLE_TELEMETRY=true
export DVC_NO_ANALYTICS=1
# Binder gives one processor of a machine that has many, and PyTorch sees them all: its threads would only wait for
# each other.
export OMP_NUM_THREADS=1
# glibc keeps up to eight heaps per processor that it sees, and gives none of them back.
export MALLOC_ARENA_MAX=2
