import numpy as np
import pytest
from clustering.rows.test_preprocessing import fitted, mixed, scikit

from ccssl_tf.clustering.rows import preprocessing_fit, sources
from ccssl_tf.clustering.rows.preprocessing import Options


@pytest.mark.parametrize("whiten", [False, True])
@pytest.mark.parametrize("components", [1, 4, 12])
def test_equals_scikit_learn(whiten, components):
    rows = mixed(700, 12)
    ours = fitted(rows, pca_dim=components, whiten=whiten)
    theirs, expected = scikit(rows, components, whiten)
    np.testing.assert_allclose(ours.variance, theirs.explained_variance_, rtol=1e-8)
    np.testing.assert_allclose(ours.mean, theirs.mean_, rtol=1e-6)
    np.testing.assert_allclose(ours.transform(rows), expected, rtol=2e-3, atol=2e-4)
    everything = fitted(rows, whiten=True)
    if components == 12 and whiten:
        np.testing.assert_array_equal(everything.projection, ours.projection)


def test_axes_without_variance_become_zero():
    rows = np.concatenate([mixed(200, 3), np.full([200, 2], 7, np.float32)], axis=1)
    whitened = fitted(rows, whiten=True).transform(rows)
    np.testing.assert_allclose(np.cov(whitened[:, :3].T), np.eye(3), atol=1e-3)
    assert not whitened[:, 3:].any()
    assert not fitted(np.full([20, 4], 3.0), whiten=True).transform(np.full([20, 4], 3.0)).any()
    assert np.isfinite(
        fitted(mixed(5, 9), whiten=True, l2_normalize=True).transform(mixed(5, 9))
    ).all()


def test_what_is_kept_is_not_fitted_again(tmp_path, monkeypatch):
    source, path = sources.open_source(mixed(50, 4), 0), tmp_path / "preprocessing.npz"
    options, arguments = Options(pca_dim=2), dict(strategy=None, should_stop=None)
    first = preprocessing_fit.fit_or_load(source, options, path, **arguments)
    monkeypatch.setattr(preprocessing_fit, "fit", None)
    again = preprocessing_fit.fit_or_load(source, options, path, **arguments)
    np.testing.assert_array_equal(again.projection, first.projection)
    with pytest.raises(TypeError):
        preprocessing_fit.fit_or_load(source, options, None, **arguments)
