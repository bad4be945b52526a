"""Every stage shows its command, its flags and its time, in the order they were made."""

from ccssl_tf.reporting import page, stage_section
from ccssl_tf.reporting.runs import RunSet


def test_a_stage_has_its_command_flags_and_time(runs):
    runs.method()
    runs.add("later", "ccssl_tf.train --task=jigsaw_pp", done=False)
    section = stage_section.section(RunSet(runs.root))
    stages = {stage["name"]: stage for stage in section["stages"]}
    assert next(iter(stages)) == "data" and not stages["later"]["finished"]
    assert stages["data"]["timing"] == ["12 s", "456.7 images/s"]
    assert stages["data"]["command"].startswith("python -m data_prep.shapes --num_images=100")
    assert "--num_images=100" in stages["data"]["flags"]
    made = page.render("stages", section=section)
    assert (
        '<h3>Images, made by data_prep.shapes <span class="soft">finished, 12 s, 456.7 images/s; '
        "in data</span></h3>"
    ) in made
    assert '<h3>Training of Jigsaw++ <span class="soft"><strong>unfinished</strong>, 12 s' in made
    assert "<pre>--num_images=100\n--output_dir=data\n--seed=0</pre>" in made
