"""Names of any bytes, unknown ones, and the order of the rows."""

import numpy as np

from ccssl_tf.clustering import clusters_csv
from ccssl_tf.clustering.pseudo_labels import PseudoLabels


def test_rows(tmp_path):
    index, labels = np.array([2, 0, 1]), np.array([5, 6, 7])
    named = PseudoLabels("f", index, labels, np.array([0.1, 0.2, 1 / 3]), [b"c,d", b"\xff", b"b"])
    bare = PseudoLabels("f", np.arange(1), np.array([4]), np.array([2.0]))
    margins = dict(train=np.array([1.0, np.nan, 0.0]), val=np.array([3.0]))
    clusters_csv.write(tmp_path, dict(train=named, val=bare), margins)
    assert (tmp_path / "clusters.csv").read_text() == (
        "filename,split,index,cluster,distance,margin\n"
        "\\xff,train,0,6,0.2,\n"
        "b,train,1,7,0.333333,0\n"
        '"c,d",train,2,5,0.1,1\n'
        ",val,0,4,2,3\n"
    )
