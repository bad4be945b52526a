"""Page, sheet and LaTeX are written, the same from the same measurements."""

from paper_measurements import probed

from ccssl_tf.reporting.paper.writing import write_paper_report


def test_the_same_measurements_give_the_same_files(tmp_path):
    measurements = [
        probed("imagenet_probe/random", [0.2] * 5, seed=seed, count=500, outcomes=True)
        for seed in (1, 0)
    ]
    contents = []
    for order in (measurements, measurements[::-1]):
        verdicts = write_paper_report(order, tmp_path / "new/report")
        contents.append(
            {path.name: path.read_bytes() for path in (tmp_path / "new/report").iterdir()}
        )
    assert contents[0] == contents[1] and len(verdicts) == 9
    assert set(contents[0]) == {"paper.html", "paper.csv", "paper.tex"}
