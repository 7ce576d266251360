"""Names and aliases of registered models, with the codes that MLflow's clients rely on."""

import httpx

from tests.registry.builders import call, error


async def test_a_taken_name_is_a_400(client: httpx.AsyncClient) -> None:
    taken = (400, "RESOURCE_ALREADY_EXISTS")
    await call(client, "POST", "experiments/create", name="e")
    await call(client, "POST", "registered-models/create", name="m")

    assert await error(client, "POST", "experiments/create", name="e") == taken
    assert await error(client, "POST", "registered-models/create", name="m") == taken


async def test_an_unknown_alias_is_a_400_of_a_known_model_and_a_404_of_an_unknown(
    client: httpx.AsyncClient,
) -> None:
    await call(client, "POST", "registered-models/create", name="m")

    known = await error(client, "GET", "registered-models/alias", name="m", alias="champion")
    unknown = await error(client, "GET", "registered-models/alias", name="x", alias="champion")

    assert known == (400, "INVALID_PARAMETER_VALUE")
    assert unknown == (404, "RESOURCE_DOES_NOT_EXIST")
