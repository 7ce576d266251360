"""A logistic regression on mixed columns, saved as an MLflow package."""

import shutil
from pathlib import Path

import mlflow
import pandas as pd
import yaml
from mlflow.models import infer_signature
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler


def pipeline(rows: pd.DataFrame, c: float) -> Pipeline:
    numbers = rows.select_dtypes("number").columns.tolist()
    words = rows.columns.difference(numbers, sort=False).tolist()
    columns = make_column_transformer(
        (StandardScaler(), numbers), (OneHotEncoder(handle_unknown="ignore"), words)
    )
    return make_pipeline(columns, LogisticRegression(C=c, max_iter=500))


def main() -> None:
    params = yaml.safe_load(Path("params.yaml").read_text())["train"]
    rows = pd.read_parquet("work/training.parquet").drop(columns="time")
    outcomes = rows.pop("y")
    fitted = pipeline(rows, params["c"]).fit(rows, outcomes)
    probabilities = fitted.predict_proba(rows)
    mlflow.log_metric("training_log_loss", log_loss(outcomes, probabilities))
    shutil.rmtree("work/package", ignore_errors=True)
    mlflow.sklearn.save_model(
        fitted,
        "work/package",
        signature=infer_signature(rows, fitted.predict(rows)),
        input_example=rows.head(5),
        pip_requirements=["scikit-learn", "skops", "pandas"],  # inferring them takes ten seconds
    )


if __name__ == "__main__":
    main()
