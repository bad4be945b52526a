import numpy as np
import pytest
from clustering.test_kmeans import blobs

from ccssl_tf.clustering import KMeans, MiniBatchKMeans
from ccssl_tf.clustering.rows.sources import ArraySource
from ccssl_tf.clustering.rows.units import Units, UnitSource
from ccssl_tf.runs.errors import InputError

ROWS = blobs(600, 5, 8, seed=0)


@pytest.mark.parametrize(
    "rows",
    [ROWS, ROWS.astype(np.float16), ROWS * np.float32(1e6), (ROWS * 10).astype(np.int16)],
    ids=["float32", "float16", "1e6", "int16"],
)
def test_ordinary_rows_stay_as_they_are(rows):
    assert Units.of(rows).are_those_of_the_rows


CASES = {
    "float64 + 1e9": ROWS.astype(np.float64) + 1e9,
    "float64 + 1e13": ROWS.astype(np.float64) * 1e3 + 1e13,
    "float64 x 1e-60": ROWS.astype(np.float64) * 1e-60,
    "float64 x 1e150": ROWS.astype(np.float64) * 1e150,
    "float32 x 1e-23": ROWS * np.float32(1e-23),
    "float32 x 1e19": ROWS * np.float32(1e19),
    "float32 x 1e30": ROWS * np.float32(1e30),
    "int64 + 2^30": np.round(ROWS * 100).astype(np.int64) + 2**30,
    "int64 + 2^60": np.round(ROWS * 100).astype(np.int64) + 2**60,
    "uint64 + 2^63": (np.round(ROWS * 100) + 2**20).astype(np.uint64) + np.uint64(2**63),
    "float64, an outlier": np.append(ROWS.astype(np.float64) + 1e9, np.full([1, 5], 1e12), 0),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("algorithm", ["lloyd", "lloyd_plain", "minibatch"])
def test_differences_survive(name, algorithm, told):
    rows, count = CASES[name], 9
    start = rows[::70][:count]
    options = dict(algorithm=algorithm, initialization=start, reassignment_ratio=0.0)
    kmeans = KMeans(count, **options).fit(rows)
    # Exact differences: of integers as Python's, of float64 as long double.
    wide = rows.astype(np.longdouble)
    centroids = np.stack([wide[kmeans.labels_ == k].mean(axis=0) for k in range(count)])
    squares = np.stack([((wide - centroid) ** 2).sum(axis=1) for centroid in centroids], 1)
    assert len(np.unique(kmeans.labels_)) == count
    spread = float(np.sqrt(squares.min(axis=1).mean()))
    if algorithm != "minibatch":
        assert np.mean(squares.argmin(axis=1) == kmeans.labels_) > 0.99
        # Far from most rows float32 is as precise as the distance allows.
        precision = np.spacing(np.abs(kmeans.centroids).max()) + 2.0**-23 * np.abs(
            centroids - wide[0]
        )
        off = np.abs(kmeans.centroids.astype(np.longdouble) - centroids)
        assert (off <= 1e-3 * spread + precision).all()
        assert kmeans.inertia == pytest.approx(float(squares.min(axis=1).sum()), rel=5e-3)
    labels, distances = kmeans.assign(rows)
    np.testing.assert_array_equal(labels, kmeans.labels_)
    assert np.square(distances.astype(np.float64)).sum() == pytest.approx(kmeans.inertia, rel=1e-3)
    np.testing.assert_allclose(
        kmeans.transform(rows).min(axis=1), distances, rtol=1e-2, atol=1e-3 * spread
    )
    assert "warning" not in told()


def test_results_are_as_precise_as_the_rows():
    assert KMeans(2).fit(ROWS).centroids.dtype == np.float32
    assert KMeans(2).fit(ROWS.astype(np.float64)).centroids.dtype == np.float64
    kmeans = MiniBatchKMeans(8).partial_fit(CASES["float64 + 1e9"][:300])
    assert np.abs(kmeans.centroids - 1e9).max() < 100
    np.testing.assert_array_equal(kmeans.predict(CASES["float64 + 1e9"][:300]), kmeans.labels_)


def test_rows_that_are_not_finite_are_named():
    rows = CASES["float64 + 1e9"].copy()
    rows[7, 2] = np.nan
    with pytest.raises(InputError, match="row 7 "):
        KMeans(2).fit(rows)


@pytest.mark.parametrize("name", ["float64 + 1e9", "int64 + 2^60"])
def test_a_source_in_units(name):
    rows = CASES[name]
    units = Units.of(rows)
    source = UnitSource(ArraySource(rows), units)
    chunks = np.concatenate(list(source.chunks(100)))
    np.testing.assert_allclose(
        chunks, (rows.astype(np.longdouble) - units.shift).astype(np.float64), rtol=1e-6
    )
    blocks, places = source.blocks_holding(np.array([3, 300]))
    np.testing.assert_array_equal(np.concatenate(list(blocks))[places], chunks[[3, 300]])
    windows = source.shuffled(np.random.default_rng(0), 128, 50, [])
    positions, shuffled = map(np.concatenate, zip(*windows.as_numpy_iterator(), strict=True))
    assert len(np.unique(positions)) == 550
    np.testing.assert_array_equal(shuffled, chunks[positions])
