from ccssl_tf.downstream.fast_rcnn import FastRCNNSettings
from ccssl_tf.downstream.voc07_classification import Voc07ClassificationSettings
from ccssl_tf.runs.settings import fields_of


def test_both_evaluations_of_voc_2007_have_the_splits_of_its_protocol():
    settings = (
        Voc07ClassificationSettings(data_dir="voc"),
        FastRCNNSettings(data_dir="voc", proposals_dir="proposals"),
    )
    for one in settings:
        assert (one.train_split, one.eval_split) == ("trainval", "test")
    defined = [{field.name: field for field in fields_of(type(one))} for one in settings]
    for name in ("train_split", "eval_split"):
        assert defined[0][name] == defined[1][name]
