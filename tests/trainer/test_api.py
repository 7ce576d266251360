"""The trainer over HTTP: pages, logs and complaints."""

from tests.trainer.harness import TrainerHarness, Upstream


async def test_lists_are_paged_and_logs_are_told(
    trainer: TrainerHarness, upstream: Upstream
) -> None:
    run = await trainer.add(upstream)
    page = await trainer.get("/v1/runs?limit=1")
    rest = await trainer.get(f"/v1/runs?limit=1&after={page['next']}")
    log = await trainer.http.get(f"/v1/runs/{run['id']}/log")
    unknown = await trainer.http.get(f"/v1/runs/{run['id']}/log?stage=nope")

    assert [item["id"] for item in page["items"]] == [run["id"]]
    assert rest == {"items": [], "next": None}
    assert "==> train\n$ python train.py" in log.text
    assert (unknown.status_code, "prepare, train" in unknown.text) == (404, True)


async def test_wrong_requests_name_the_field(trainer: TrainerHarness, upstream: Upstream) -> None:
    external = await trainer.http.post(
        "/v1/repositories", json={"name": "x", "url": "ext::sh -c touch% /tmp/x"}
    )
    branch = await trainer.http.post(
        "/v1/repositories", json={"name": "x", "url": str(upstream.path), "branch": "nope"}
    )
    neither = await trainer.http.post("/v1/runs", json={})

    assert external.json()["errors"][0]["field"] == "url"
    assert branch.json()["errors"][0]["field"] == "branch"
    assert neither.json()["errors"][0]["field"] == "pipeline"
