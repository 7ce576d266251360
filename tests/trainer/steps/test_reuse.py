"""Kept results as both databases hold them."""

from tests.trainer.harness import PIPELINE, TRAIN, TrainerHarness, Upstream, why


async def test_params_that_json_cannot_hold_are_kept_too(
    trainer: TrainerHarness, upstream: Upstream
) -> None:
    upstream.commit({"params.yaml": "train: {rate: .nan, since: 2026-01-01}\n",
                     "loopwright.yaml": PIPELINE.replace("[train.rate]", "[train]"),
                     "train.py": TRAIN.replace("'loss': rate", "'loss': 1")})  # fmt: skip
    first = await trainer.add(upstream)
    again = await trainer.push(upstream, {"README.md": "hello"})

    assert first["status"] == "succeeded", first["why"]
    assert why(again, "train").startswith("same command, inputs, params")
