from tests.models.suite import ModelSuite


class TestUserKNN(ModelSuite):
    name = "user-knn"
    history_based = False
