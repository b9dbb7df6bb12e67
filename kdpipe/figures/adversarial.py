"""Is a student fooled by the images that fool its teacher?"""

from __future__ import annotations

from kdpipe.figures.base import PropertyFigure, figures


@figures.register("adversarial")
class Adversarial(PropertyFigure):
    probes = ("adversarial",)
    metrics = ("fooling_rate", "same_wrong_label", "attack_success")
    xlabel = "Network the attack was made on"
    title = "Adversarial images that fool the teacher"
    caption = (
        "Test images are changed in small steps until they fool one network (I-FGSM), and those "
        "that do are shown to the students. The fooling rate is the share on which a student "
        "leaves its own answer. Images made on a foreign network are the control: what fools a "
        "student there is weakness in general, not the teacher's."
    )
