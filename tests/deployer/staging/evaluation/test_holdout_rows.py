from loopwright_deployer.staging.evaluation.holdout_rows import class_indices


def test_labels_meet_classes_whatever_their_type() -> None:
    assert class_indices([1, 0.0, True, "1"], [0, 1]).tolist() == [1, 0, 1, 1]
    assert class_indices(["yes", "no"], ["no", "yes"]).tolist() == [1, 0]
