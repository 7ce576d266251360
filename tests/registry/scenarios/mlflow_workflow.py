"""What a user does with an unmodified mlflow client; prints what it saw as one JSON line."""

import json
import sys

import mlflow
import numpy as np
from mlflow import MlflowClient
from sklearn.linear_model import LogisticRegression


def train() -> str:
    mlflow.set_experiment("flow")
    inputs = np.array([[0.0], [1.0], [2.0], [3.0]])
    labels = np.array([0, 0, 1, 1])
    with mlflow.start_run() as run:
        mlflow.log_param("a", 1)
        mlflow.log_params({"b": 2, "c": 3})
        for step in range(3):
            mlflow.log_metric("loss", 1.0 / (step + 1), step=step)
        mlflow.log_metrics({"accuracy": 1.0, "odd": float("nan")})
        mlflow.set_tag("stage", "try")
        mlflow.set_tags({"x": "y", "z": "w"})
        mlflow.log_dict({"k": 1}, "folder/d.json")
        mlflow.log_input(mlflow.data.from_numpy(inputs, name="rows"), context="training")
        mlflow.sklearn.log_model(
            LogisticRegression().fit(inputs, labels),
            name="model",
            input_example=inputs[:1],
            registered_model_name="flower",
            pip_requirements=["scikit-learn"],
        )
    return str(run.info.run_id)


def look(run_id: str) -> dict[str, object]:
    client = MlflowClient()
    client.set_registered_model_alias("flower", "best", "1")
    client.set_model_version_tag("flower", "1", "checked", "yes")
    run = client.get_run(run_id)
    rows = np.array([[0.0], [3.0]])
    versions = client.search_model_versions("name = 'flower' AND tags.checked = 'yes'")
    found = mlflow.search_runs(
        experiment_names=["flow"],
        filter_string="metrics.accuracy > 0.5 AND params.a = '1' AND tags.stage LIKE 't%'",
        output_format="list",
    )
    return {
        "run_id": run_id,
        "params": run.data.params,
        "metrics": {k: v for k, v in run.data.metrics.items() if k != "odd"},
        "odd_is_nan": run.data.metrics["odd"] != run.data.metrics["odd"],
        "dataset": run.inputs.dataset_inputs[0].dataset.name,
        "history": [m.value for m in client.get_metric_history(run_id, "loss")],
        "artifacts": [item.path for item in client.list_artifacts(run_id, "folder")],
        "text": mlflow.artifacts.load_text(f"runs:/{run_id}/folder/d.json"),
        "by_alias": client.get_model_version_by_alias("flower", "best").version,
        "versions": [version.version for version in versions],
        "models": [m.name for m in client.search_registered_models("name LIKE 'flo%'")],
        "found": [item.info.run_id for item in found],
        "pyfunc": mlflow.pyfunc.load_model("models:/flower@best").predict(rows).tolist(),
        "sklearn": mlflow.sklearn.load_model("models:/flower/1").predict(rows).tolist(),
        "of_run": mlflow.sklearn.load_model(f"runs:/{run_id}/model").predict(rows).tolist(),
        "latest": mlflow.pyfunc.load_model("models:/flower/latest").predict(rows).tolist(),
    }


if __name__ == "__main__":
    mlflow.set_tracking_uri(sys.argv[1])
    print(json.dumps(look(train())))  # noqa: T201
