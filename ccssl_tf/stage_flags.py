"""The flags that stages share: which images they read and where they write."""

from absl import flags

from ccssl_tf.runs.workdir import directory_flag

DATA_DIR = flags.DEFINE_string(
    "data_dir", None, "Directory of image shards written by a data_prep command."
)
WORKDIR = directory_flag(
    "workdir", None, "Directory this command writes into; a killed run continues there."
)
TRAIN_SPLIT = flags.DEFINE_string(
    "train_split",
    None,
    "Split trained on, where a task lets one choose; by default its protocol's.",
)
EVAL_SPLIT = flags.DEFINE_string(
    "eval_split",
    None,
    "Split evaluated on, where a task lets one choose; by default its protocol's.",
)
