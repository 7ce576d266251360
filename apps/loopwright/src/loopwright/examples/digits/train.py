"""A logistic regression on pixels, saved as an MLflow package."""

import shutil
from pathlib import Path

import mlflow
import yaml
from mlflow.models import infer_signature
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler


def main() -> None:
    params = yaml.safe_load(Path("params.yaml").read_text())["train"]
    images, digits = load_digits(return_X_y=True)
    images, digits = images[: params["images"]], digits[: params["images"]]
    fitted = make_pipeline(MinMaxScaler(), LogisticRegression(C=params["c"], max_iter=500))
    fitted.fit(images, digits)
    mlflow.log_metric("training_accuracy", fitted.score(images, digits))
    shutil.rmtree("work/package", ignore_errors=True)
    mlflow.sklearn.save_model(
        fitted,
        "work/package",
        signature=infer_signature(images, fitted.predict(images)),
        input_example=images[:2],
        pip_requirements=["scikit-learn", "skops"],  # inferring them takes ten seconds
    )


if __name__ == "__main__":
    main()
