from tests.models.suite import ModelSuite


class TestRP3beta(ModelSuite):
    name = "rp3beta"
