"""How each property is measured, in words."""

from __future__ import annotations

HOW = {
    "accuracy": "The share of test images whose most probable class is the label, in each domain.",
    "colour": "Each test image and one colour-jittered version of it go through the network; "
    "counted is how often both get the same class. The jitter of an image is the same for every "
    "network.",
    "crop": "Two random crops of each test image, of a given share of its area, go through the "
    "network; counted is how often both get the same class. The crops of an image are the same for "
    "every network.",
    "shift": "Two windows of a slightly enlarged test image, a few pixels apart, go through the "
    "network; counted is how often both get the same class.",
    "shape_bias": "Test images whose shape says one class and whose other cue another. Of the "
    "answers that follow one of the two, counted is the share that follows the shape.",
    "group_accuracy": "The share of right answers among the test images of each group. The gap is "
    "the teacher's weakness on a group that it knows too little of.",
    "calibration": "Test images are sorted into bins by the network's confidence; the error is the "
    "distance of confidence and accuracy, averaged over the bins.",
    "localization": "Grad-CAM maps of the true class of teacher and student on the same image, "
    "compared by cosine similarity at the larger of the two layers' resolutions. The win rate is "
    "how often a student's map is closer to the teacher's than an independent student's.",
    "adversarial": "Test images are changed step by step until they fool the teacher (I-FGSM); "
    "those that do are shown to the students. Fooled: the answer differs from the network's own on "
    "the unchanged image. The control repeats it with a network that is not the teacher.",
    "consensus": "The share of test images on which student and teacher give the same class, right "
    "or wrong, also in domains that the student never saw.",
    "fidelity": "The share of test images on which student and teacher give the same class, and "
    "the Kullback-Leibler divergence of their probabilities.",
    "cka": "Linear centred kernel alignment between the outputs of layers of teacher and student "
    "on the same images, by the unbiased estimator; 1 means equal up to rotation and scale.",
    "boundary": "Three random test images span a plane; teacher and student label a grid of points "
    "on it. Counted is the share of points with equal labels, averaged over planes.",
    "weights": "The linear map of a student without hidden layers, compared with its teacher's, "
    "after centring over classes.",
}
