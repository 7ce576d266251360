"""What stages print, kept in the store."""

from pathlib import Path

from tests.trainer.harness import TRAIN, TrainerHarness, Upstream


async def test_the_log_of_every_attempt_is_kept_in_the_store(
    trainer: TrainerHarness, upstream: Upstream, tmp_path: Path
) -> None:
    printed = "print('hello')\n"
    upstream.commit({"train.py": printed + TRAIN})
    run = await trainer.add(upstream)
    for file in (tmp_path / "trainer" / "runs").rglob("*.log"):
        file.unlink()
    log = await trainer.http.get(f"/v1/runs/{run['id']}/log?stage=train&attempt=1")

    assert log.text == "$ python train.py\nhello\n"
