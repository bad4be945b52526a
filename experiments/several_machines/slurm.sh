#!/bin/bash
# Runs one command on every node of a Slurm job, one process each:
#
#   sbatch --nodes=4 --gpus-per-node=8 --time=24:00:00 experiments/several_machines/slurm.sh \
#       ccssl_tf.train --flagfile=MINE.flags --data_dir=DATA --workdir=RUNS/jigsaw_pp
#
# DATA and RUNS are on storage that all nodes share. The processes are asked to stop two minutes
# before the time is over, save, and exit with 75, as they do where another one is lost: the job is
# then put into the queue again and continues. Any other failure ends it.
#SBATCH --ntasks-per-node=1
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=TERM@120
set -u

port=${CCSSL_PORT:-2222}
workers=""
for host in $(scontrol show hostnames "$SLURM_JOB_NODELIST"); do
    workers+="${workers:+, }\"$host:$port\""
done
export workers

srun bash -c '
    cluster="{\"worker\": [$workers]}"
    task="{\"type\": \"worker\", \"index\": $SLURM_PROCID}"
    export TF_CONFIG="{\"cluster\": $cluster, \"task\": $task}"
    exec python -m "$@"
' worker "$@"
code=$?

if [ "$code" -eq 75 ]; then
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
