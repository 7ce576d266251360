import pytest

from loopwright_common.database.database import Database
from loopwright_common.errors import InvalidError
from loopwright_deployer.deployments.domain import DeploymentState
from loopwright_deployer.staging.redaction import require_redacted_inputs
from tests.deployer.lifecycle import lead_to


async def test_a_redacted_name_that_is_no_input_is_refused(database: Database) -> None:
    signature = {"inputs": [{"name": "age", "type": "long"}]}
    record = await lead_to(
        database,
        1,
        DeploymentState.RECEIVED,
        signature=signature,
        deploy={"record": {"redact": ["agee"]}},
    )

    with pytest.raises(InvalidError, match=r"deploy\.record\.redact: 'agee'.*inputs are age"):
        require_redacted_inputs(record)
